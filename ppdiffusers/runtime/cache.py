"""Compiled programs and the weights they read, on disk.

An entry is a folder whose name is the hash of everything that its content depends on. It is written beside its place
and renamed, so two processes may write the same one: whoever is later replaces equal content. Each entry says what
its files' sizes and hashes are; one that is damaged is thrown away and made again. When the whole is larger than the
limit, what was used longest ago goes.

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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

import ppdiffusers
from ppdiffusers.core.environment import read_number
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.files import cache_folder, replace_folder
from ppdiffusers.runtime.threads import get_num_threads
from ppdiffusers.version import __version__

ENTRY = "entry.json"
# The code that a program is made from: a change in any of these rooms makes all programs stale.
_ROOMS = ("models", "transformers", "runtime", "pipelines")
# Larger files are hashed by `verify_programs` only; reading an entry compares their sizes.
_HASH_ALWAYS = 64 * 2**20
_PIECE, _CHUNK = 64 * 2**20, 2**20


@dataclass(frozen=True)
class Entry:
    """One entry, as `ppdiffusers cache` shows it: its name, what it is, bytes on disk, seconds since 1970."""

    name: str
    about: str
    size: int
    used: float


def cache_root() -> Path:
    """The folder of all compiled programs."""
    return cache_folder() / "programs"


def size_limit() -> int:
    """Bytes that all entries together may take."""
    gigabytes = read_number("PPDIFFUSERS_PROGRAM_CACHE_GB", 20, "gigabytes", low=0, high=100_000)
    return int(gigabytes * 2**30)


def content_key(**parts: Any) -> str:
    """A hash of `parts` (plain data), of this version's code and of Paddle's version."""
    import paddle

    parts = {**parts, "code": code_hash(), "version": __version__, "paddle": paddle.__version__}
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=20).hexdigest()


@functools.lru_cache
def code_hash() -> str:
    """A hash of the source files that decide what a program computes."""
    total, root = hashlib.blake2b(digest_size=20), Path(ppdiffusers.__file__).parent
    for room in _ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            total.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return total.hexdigest()


def source_hash(kind: type) -> str:
    """A hash of the file that defines a network's class; for a class without a file, a new one every time."""
    path = getattr(sys.modules.get(kind.__module__), "__file__", None)
    content = Path(path).read_bytes() if path and Path(path).is_file() else os.urandom(20)
    return hashlib.blake2b(content, digest_size=20).hexdigest()


# -- one entry ------------------------------------------------------------------------------------------------------


def find_or_make(name: str, about: str, make: Callable[[Path], None]) -> Path:
    """The folder of entry `name`; `make(folder)` fills it when there is none, or a damaged one."""
    folder = cache_root() / name
    if not _problems(folder, thorough=False):
        with contextlib.suppress(OSError):  # another process may have removed it: then the next lines find out
            os.utime(folder / ENTRY)
        return folder
    with _lock(name):
        if not _problems(folder, thorough=False):  # made by another process meanwhile
            return folder
        with replace_folder(folder) as staging:
            make(staging)
            seal(staging, about)
    _shrink(keep=name)
    return folder


def is_there(name: str) -> bool:
    """Whether entry `name` exists and is whole."""
    return not _problems(cache_root() / name, thorough=False)


def seal(folder: Path, about: str) -> None:
    """Write down what the files of `folder` are, so that damage is noticed."""
    files = {path.name: _describe(path) for path in sorted(folder.iterdir()) if path.name != ENTRY}
    (folder / ENTRY).write_text(json.dumps({"about": about, "files": files}, indent=1), encoding="utf-8")


def discard(name: str) -> None:
    """Remove one entry."""
    shutil.rmtree(cache_root() / name, ignore_errors=True)


def _describe(path: Path) -> list:
    return [path.stat().st_size, _digest(path)]


def _digest(path: Path) -> str:
    """The hash of a file; of a large one, the hash of the hashes of its pieces, which are read side by side."""
    starts = range(0, max(path.stat().st_size, 1), _PIECE)
    if len(starts) == 1:
        return _digest_of_piece(path, 0)
    with ThreadPoolExecutor(get_num_threads()) as pool:
        pieces = pool.map(lambda start: _digest_of_piece(path, start), starts)
        return hashlib.sha256("\n".join(pieces).encode()).hexdigest()


def _digest_of_piece(path: Path, start: int) -> str:
    total = hashlib.sha256()  # processors have instructions for it
    with open(path, "rb") as file:
        file.seek(start)
        for _ in range(_PIECE // _CHUNK):
            total.update(file.read(_CHUNK))
    return total.hexdigest()


def _problems(folder: Path, thorough: bool) -> list[str]:
    """What is wrong with an entry; large files are read only when `thorough`."""
    try:
        files = json.loads((folder / ENTRY).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{ENTRY}: {error}"]
    found = []
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            found.append(f"{name}: missing, or not {size} bytes long")
        elif (thorough or size <= _HASH_ALWAYS) and _digest(path) != digest:
            found.append(f"{name}: its content has changed")
    return found


def _lock(name: str) -> FileLock:
    """Only one process at a time makes the entry; the lock goes with the process that holds it."""
    root = cache_root() / ".locks"
    root.mkdir(parents=True, exist_ok=True)
    return FileLock(root / name)


# -- all of them ----------------------------------------------------------------------------------------------------


def list_programs() -> list[Entry]:
    """All entries, what was used last first."""
    found = []
    for path in cache_root().glob(f"*/{ENTRY}"):
        with contextlib.suppress(OSError, ValueError, KeyError):  # removed meanwhile, or damaged: `verify` tells
            about = json.loads(path.read_text(encoding="utf-8"))["about"]
            size = sum(file.stat().st_size for file in path.parent.iterdir())
            found.append(Entry(path.parent.name, about, size, path.stat().st_mtime))
    return sorted(found, key=lambda entry: -entry.used)


def program_names() -> list[str]:
    """Names of all entries, of damaged ones too."""
    return sorted(path.name for path in cache_root().glob("*") if path.is_dir() and path.name[0] != ".")


def remove_programs(names: list[str] | None = None) -> list[str]:
    """Remove these entries (default: all, and what interrupted processes left); returns what was removed."""
    root = cache_root()
    if not root.is_dir():
        return []
    chosen = [path.name for path in root.iterdir() if path.is_dir() and path.name != ".locks"]
    if names is not None:
        unknown = sorted(set(names) - set(chosen))
        if unknown:
            raise InputError("There are no such compiled programs.", where=root, problems=unknown)
        chosen = names
    for name in chosen:
        discard(name)
    return chosen


def verify_programs(names: list[str] | None = None) -> dict[str, list[str]]:
    """Read every byte of these entries (default: all): name -> what is wrong with it."""
    names = program_names() if names is None else names
    return {name: found for name in names if (found := _problems(cache_root() / name, thorough=True))}


def _shrink(keep: str) -> None:
    """Remove what was used longest ago until the rest fits the limit; and what dead processes left."""
    entries, limit = list_programs(), size_limit()
    total = sum(entry.size for entry in entries)
    for entry in reversed(entries):
        if total <= limit:
            break
        if entry.name != keep:
            discard(entry.name)
            total -= entry.size
    for path in cache_root().glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > 24 * 3600:
                shutil.rmtree(path, ignore_errors=True)
