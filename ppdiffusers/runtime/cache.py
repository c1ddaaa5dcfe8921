"""The cache on disk of compiled programs and of the weights they read.

An entry is a folder whose name is the hash of everything that its content depends on. It is written to a temporary
folder and renamed, so that two processes may write the same entry: the later one replaces equal content. An entry
records the sizes and hashes of its files; a damaged one is removed and written again. When all entries together
exceed the limit, the least recently used ones are removed.

`PPDIFFUSERS_CACHE` is the folder (default `~/.cache/ppdiffusers`), `PPDIFFUSERS_PROGRAM_CACHE_GB` the limit (20).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

import ppdiffusers
from ppdiffusers.core.config_types import fits
from ppdiffusers.core.environment import read_number
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.files import cache_folder, remove_unused, replace_folder
from ppdiffusers.core.reading import read_json
from ppdiffusers.runtime.threads import get_num_threads
from ppdiffusers.version import __version__

ENTRY = "entry.json"
_LOCKS = ".locks"
# The code that programs are compiled from: a change in any of these packages makes all programs stale.
_PACKAGES = ("models", "transformers", "runtime", "pipelines")
# Larger files are hashed by `verify_programs` only; opening an entry compares their sizes.
_HASH_ALWAYS = 64 * 2**20
_CHUNK, _BLOCK = 64 * 2**20, 2**20


@dataclass(frozen=True)
class Entry:
    """An entry, as `ppdiffusers cache` lists it: name, description, bytes on disk, last use in seconds since 1970."""

    name: str
    about: str
    size: int
    used: float


def cache_root() -> Path:
    """Return the folder of all compiled programs."""
    return cache_folder() / "programs"


def size_limit() -> int:
    """Return the maximum size of all entries together, in bytes."""
    gigabytes = read_number("PPDIFFUSERS_PROGRAM_CACHE_GB", 20, "gigabytes", low=0, high=100_000)
    return int(gigabytes * 2**30)


def content_key(**parts: object) -> str:
    """Return a hash of `parts` (plain data), of the code of this version and of Paddle's version."""
    import paddle

    parts = {**parts, "code": code_hash(), "version": __version__, "paddle": paddle.__version__}
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=20).hexdigest()


@functools.lru_cache
def code_hash() -> str:
    """Return a hash of the source files that determine what a program computes."""
    total, root = hashlib.blake2b(digest_size=20), Path(ppdiffusers.__file__).parent
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            total.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return total.hexdigest()


def source_hash(module: str) -> str:
    """Return a hash of a module's source file; for a module without a file, a new value at each call."""
    path = getattr(sys.modules.get(module), "__file__", None)
    content = Path(path).read_bytes() if path and Path(path).is_file() else os.urandom(20)
    return hashlib.blake2b(content, digest_size=20).hexdigest()


# -- one entry ------------------------------------------------------------------------------------------------------


def find_or_make(name: str, about: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of entry `name`; `make(folder)` writes it if it is missing or damaged."""
    folder = cache_root() / name
    if not _problems(folder, thorough=False):
        with contextlib.suppress(OSError):  # another process may have removed it in the meantime
            os.utime(folder / ENTRY)
        return folder
    with _lock(name):
        if not _problems(folder, thorough=False):  # written by another process in the meantime
            return folder
        with replace_folder(folder) as staging:
            make(staging)
            seal(staging, about)
    _shrink(keep=name)
    return folder


def is_valid(name: str) -> bool:
    """Return whether entry `name` exists and is undamaged."""
    return not _problems(cache_root() / name, thorough=False)


def seal(folder: Path, about: str) -> None:
    """Record sizes and hashes of the files in `folder`, so that damage is detected."""
    files = {path.name: _describe(path) for path in sorted(folder.iterdir()) if path.name != ENTRY}
    (folder / ENTRY).write_text(json.dumps({"about": about, "files": files}, indent=1), encoding="utf-8")


def discard(name: str) -> None:
    """Remove one entry."""
    shutil.rmtree(cache_root() / name, ignore_errors=True)


def _describe(path: Path) -> list[int | str]:
    return [path.stat().st_size, _digest(path)]


def _digest(path: Path) -> str:
    """Return the hash of a file; for a large file, the hash of the hashes of its chunks, computed in parallel."""
    starts = range(0, max(path.stat().st_size, 1), _CHUNK)
    if len(starts) == 1:
        return _digest_of_chunk(path, 0)
    with ThreadPoolExecutor(get_num_threads()) as pool:
        chunks = pool.map(lambda start: _digest_of_chunk(path, start), starts)
        return hashlib.sha256("\n".join(chunks).encode()).hexdigest()


def _digest_of_chunk(path: Path, start: int) -> str:
    total = hashlib.sha256()  # faster than BLAKE2: processors have instructions for it
    with open(path, "rb") as file:
        file.seek(start)
        for _ in range(_CHUNK // _BLOCK):
            total.update(file.read(_BLOCK))
    return total.hexdigest()


def _problems(folder: Path, thorough: bool) -> list[str]:
    """Return the defects of an entry; large files are read only if `thorough`."""
    try:
        files = read_json(folder / ENTRY)["files"]
    except ConfigError as error:
        return [f"{ENTRY}: {error.what}"]
    except KeyError:
        files = None
    if not fits(files, dict[str, list[int | str]]) or not all(map(_is_description, files.items())):
        return [f"{ENTRY}: it does not describe files"]
    found = []
    for name, (size, digest) in files.items():
        path = folder / name
        try:
            if not path.is_file() or path.stat().st_size != size:
                found.append(f"{name}: missing, or its size is not {size} bytes")
            elif (thorough or size <= _HASH_ALWAYS) and _digest(path) != digest:
                found.append(f"{name}: its content has changed")
        except OSError as error:
            found.append(f"{name}: it cannot be read: {error.strerror}")
    return found


def _is_description(item: tuple[str, list[int | str]]) -> bool:
    name, description = item
    return Path(name).name == name and [type(part) for part in description] == [int, str]


def _lock(name: str) -> FileLock:
    """Return a lock that lets one process at a time write the entry; it is released when that process ends."""
    root = cache_root() / _LOCKS
    root.mkdir(parents=True, exist_ok=True)
    return FileLock(root / name)


# -- all entries ----------------------------------------------------------------------------------------------------


def list_programs() -> list[Entry]:
    """Return all entries, the most recently used first."""
    found = []
    for name in program_names():
        folder = cache_root() / name
        # removed by another process, or damaged, which `verify_programs` reports
        with contextlib.suppress(OSError, ConfigError):
            about = str(read_json(folder / ENTRY).get("about"))[:1000]
            found.append(Entry(name, about, _size_of(folder), (folder / ENTRY).lstat().st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def program_names() -> list[str]:
    """Return the names of all entries, including damaged ones."""
    return [name for name in _folder_names() if name[0] != "."]


def list_unfinished() -> list[Entry]:
    """Return what processes left that were killed while they wrote an entry, and what running ones are writing."""
    root = cache_root()
    names = [name for name in _folder_names() if name[0] == "." and name != _LOCKS]
    return [Entry(name, "unfinished", _size_of(root / name), 0.0) for name in names]


def remove_programs(names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Remove entries (of `list_unfinished` too), except for those that a running process uses, and other folders.

    Returns:
        The names of what was removed, and for each entry that was kept the reason.

    Raises:
        InputError: unknown names.
    """
    root, names = cache_root(), list(names)
    unknown = sorted(set(names) - set(_folder_names()))
    if unknown:
        raise InputError("Unknown compiled programs.", where=root, problems=unknown)
    removed, kept = [], {}
    for name in names:
        if not name.endswith((".part", ".old")) and not os.path.lexists(root / name / ENTRY):
            kept[name] = f"it was not written by ppdiffusers, it has no {ENTRY}"
            continue
        try:
            if remove_unused(root / name):
                removed.append(name)
            else:
                kept[name] = "a running process uses it"
        except OSError as error:
            kept[name] = error.strerror or str(error)
    return removed, kept


def _folder_names() -> list[str]:
    try:
        with os.scandir(cache_root()) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:  # the cache does not exist, is not a folder, or is not readable
        return []


def _size_of(folder: Path) -> int:
    """Return the bytes of the files in a folder; zero if it is not readable."""
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:
        return 0


def verify_programs(names: list[str] | None = None) -> dict[str, list[str]]:
    """Read every byte of these entries (default: all) and return the defects by entry name."""
    names = program_names() if names is None else names
    return {name: found for name in names if (found := _problems(cache_root() / name, thorough=True))}


def _shrink(keep: str) -> None:
    """Remove the least recently used entries until the rest fits the limit, and old incomplete ones."""
    entries, limit = list_programs(), size_limit()
    total = sum(entry.size for entry in entries)
    for entry in reversed(entries):
        if total <= limit:
            break
        if entry.name != keep:
            with contextlib.suppress(OSError):
                total -= entry.size if remove_unused(cache_root() / entry.name) else 0
    for entry in list_unfinished():
        path = cache_root() / entry.name
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 24 * 3600:
                remove_unused(path)
