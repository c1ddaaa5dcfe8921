"""Writing so that an interruption leaves what was there before."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Where everything lies that is fetched or made only once: `PPDIFFUSERS_CACHE`, or ~/.cache/ppdiffusers."""
    return Path(os.environ.get("PPDIFFUSERS_CACHE") or Path.home() / ".cache" / "ppdiffusers").expanduser()


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a path beside `path` to write to; rename it over `path` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    staging = Path(name)
    try:
        yield staging
        _flush_to_disk(staging)
        _give_usual_mode(staging, 0o666)
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Give a folder beside `path` to fill; it takes the place of `path` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield staging
        _give_usual_mode(staging, 0o777)
        move_folder_over(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def move_folder_over(staging: Path, path: Path) -> None:
    """Rename a folder to `path`, in the place of the folder that may be there."""
    if not path.exists():
        staging.rename(path)
        return
    # A filled folder cannot be renamed over: the old one steps aside first and comes back if that fails.
    retired = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent)) / path.name
    path.rename(retired)
    try:
        staging.rename(path)
    except OSError:
        retired.rename(path)
        raise
    finally:
        shutil.rmtree(retired.parent, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _give_usual_mode(path: Path, mode: int) -> None:
    # tempfile makes private files; the result is to have the mode that open() and mkdir() would have given.
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)
