"""Write single files and whole folders atomically: an interruption leaves the previous content.

`core.saving` does the same for several files in a folder that keeps its other files.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ppdiffusers.core.errors import InputError

# Windows has no such module: concurrent writers are not coordinated there.
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None
_LONGEST_NAME = 255  # bytes, on Windows characters, of a file or folder
_LOCK_INTERVAL = 0.01  # seconds between two attempts to get a lock


def cache_folder() -> Path:
    """Return the folder of downloads and compiled programs: `PPDIFFUSERS_CACHE`, or ~/.cache/ppdiffusers."""
    named = os.environ.get("PPDIFFUSERS_CACHE") or os.path.join("~", ".cache", "ppdiffusers")
    folder = expand_user(named)
    if folder.parts[0] == "~":
        raise InputError(
            "The home folder of the user is unknown.",
            where=named,
            remedy="set PPDIFFUSERS_CACHE to a folder for downloads and compiled programs, or HOME.",
        )
    return folder


def expand_user(path: str | os.PathLike) -> Path:
    """Replace `~` by the home folder of the user; a path whose user is unknown is returned unchanged.

    Raises:
        InputError: this is not a path, or the system can have no such path (`check_path`).
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise InputError("This is not a path.", where=repr(path)[:200], expected="a string or a pathlib.Path")
    if not os.fspath(path):
        raise InputError("The path is empty.", expected='a path; "." is the current folder')
    return check_path(Path(os.path.expanduser(path)))


def path_inside(folder: Path, name: str | os.PathLike, argument: str) -> Path:
    """Return the path of `name`, the value of an argument, in a folder.

    Raises:
        InputError: this is not a name, or the system can have no such path.
    """
    if not isinstance(name, (str, os.PathLike)) or isinstance(os.fspath(name), bytes):
        raise InputError(f"{argument}={name!r:.200} is not a name.", expected="a string")
    return check_path(folder / name)


def check_path(path: Path) -> Path:
    """Return a path, which need not exist.

    Raises:
        InputError: it is too long, or has null characters or half characters.
    """
    problem = None
    try:
        os.lstat(path)
    except ValueError:  # includes UnicodeEncodeError
        problem = "it has characters that no path has"
    except OSError as error:
        # The system does not look at names in a folder that does not exist.
        longest = max(len(os.fsencode(part) if os.name == "posix" else part) for part in path.parts)
        if error.errno == errno.ENAMETOOLONG or longest > _LONGEST_NAME:
            problem = "it is too long"
    if problem is not None:
        raise InputError(f"This path cannot exist: {problem}.", where=repr(str(path))[:400], remedy="check the path.")
    return path


def absolute_path(path: str | os.PathLike) -> Path:
    """Return an absolute path without `~`, ".." and links; links that refer to themselves are kept."""
    return Path(os.path.realpath(expand_user(path)))


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path next to `path` to write to; rename it to `path` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _staging_next_to(path, _make_file) as staging:
        yield staging
        flush_to_disk(staging)
        _set_default_mode(staging, 0o666)
        os.replace(staging, path)


@contextmanager
def replace_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a folder next to `path` to fill; rename it to `path` when the block ends without an error.

    If the process is killed between the two renames that replace a folder, `restore_folder` restores the old one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    restore_folder(path)
    with _staging_next_to(path, tempfile.mkdtemp) as staging:
        yield staging
        _set_default_mode(staging, 0o777)
        move_folder_over(staging, path)


def move_folder_over(staging: Path, path: Path) -> None:
    """Rename a folder to `path`; replace the folder that may exist there."""
    old = _old_name(path)
    with locked_folder(path.parent):
        if not path.exists():
            staging.rename(path)
            return
        # A folder with files cannot be replaced by renaming: the old one is renamed first, and restored if that fails.
        discard(old)
        path.rename(old)
        try:
            staging.rename(path)
        except OSError:
            old.rename(path)
            raise
        discard(old)


def restore_folder(path: Path) -> None:
    """Restore the old folder, or one of its parents, if a process was killed while replacing it."""
    path = path.absolute()
    for folder in (*reversed(path.parents), path):
        if not folder.name:  # the root
            continue
        old = _old_name(folder)
        if not os.path.exists(folder) and os.path.isdir(old):
            with locked_folder(folder.parent):  # a process that is replacing it has the lock until it is complete
                if not os.path.exists(folder) and os.path.isdir(old):
                    old.rename(folder)


def discard(path: Path) -> None:
    """Remove a folder; if that is interrupted, the rest has a name that the next write to the folder removes."""
    if path.is_dir():
        garbage = path.with_name(f"{path.name.removesuffix('.old')}.{os.urandom(4).hex()}.part")
        path.rename(garbage)
        shutil.rmtree(garbage, ignore_errors=True)


def remove_unused(path: Path) -> bool:
    """Remove a folder, unless a running process uses it; of a link, remove the link only.

    Returns:
        False if a process uses the folder (`in_use`, `use_while_alive`, or writing).

    Raises:
        OSError: the folder cannot be removed.
    """
    if path.is_symlink():
        path.unlink()
        return True
    lock = _lock(path)
    if lock is None:
        return not os.path.lexists(path)
    try:
        shutil.rmtree(path)
    except RecursionError:
        raise OSError(errno.ENAMETOOLONG, "folders are nested too deeply", str(path)) from None
    finally:
        _unlock(lock)
    return True


def _old_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


# -- names that a killed process leaves -------------------------------------------------------------------------------


@contextmanager
def _staging_next_to(path: Path, make: Callable[..., str]) -> Iterator[Path]:
    """Make a locked file or folder with a temporary name, after removing those of processes that were killed."""
    _remove_leftovers(path)
    lock, staging = None, path
    while lock is None:  # another process may have removed it before it was locked
        staging = Path(make(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        lock = _lock(staging)
    try:
        yield staging
    finally:
        if staging.is_dir():
            shutil.rmtree(staging, ignore_errors=True)
        else:
            staging.unlink(missing_ok=True)
        _unlock(lock)


def _make_file(prefix: str, suffix: str, dir: Path) -> str:
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=dir)
    os.close(handle)
    return name


def _remove_leftovers(path: Path) -> None:
    if fcntl is None:  # files of running processes cannot be told from leftovers
        return
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.part")
    for name in filter(pattern.fullmatch, os.listdir(path.parent)):
        leftover = path.parent / name
        lock = _lock(leftover)
        if lock is not None and lock >= 0:
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
            _unlock(lock)


# -- locks ------------------------------------------------------------------------------------------------------------


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; other processes and threads wait for it. It is released if the process ends."""
    while (lock := _lock(folder)) is None:
        os.stat(folder)  # raises if it was removed
        time.sleep(_LOCK_INTERVAL)
    try:
        yield
    finally:
        _unlock(lock)


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """While the block runs, `remove_unused` of other processes keeps this folder."""
    lock = _share(folder)
    try:
        yield
    finally:
        if lock >= 0:
            os.close(lock)


def use_while_alive(user: object, folder: Path) -> None:
    """As long as an object exists, `remove_unused` of other processes keeps this folder."""
    lock = _share(folder)
    if lock >= 0:
        weakref.finalize(user, os.close, lock)


def _share(folder: Path) -> int:
    """Get a shared lock of a folder: a handle, which the caller closes; -1 if there can be none."""
    if fcntl is None:
        return -1
    handle = -1
    try:
        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # no folder, no permission, a file system without locks, or a process that is removing the folder
        if handle >= 0:
            os.close(handle)
        return -1
    return handle


def _lock(path: Path) -> int | None:
    """Lock an existing file or folder: a handle; None if others hold the lock or removed the path; -1 without locks."""
    if fcntl is None:
        return -1
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(path)):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:  # a file system without locks
        os.close(handle)
        return -1
    os.close(handle)
    return None


def _unlock(lock: int) -> None:
    if lock >= 0:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_UN)  # closing alone does not unlock while a forked process has the handle
        os.close(lock)


# -- small helpers ----------------------------------------------------------------------------------------------------


def flush_to_disk(path: Path) -> None:
    """Write what the system holds of a file, or of the names in a folder, to the disk."""
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _set_default_mode(path: Path, mode: int) -> None:
    # tempfile makes private files; set the mode that open() and mkdir() would have set.
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)
