"""Write files and folders atomically: an interruption leaves the previous content."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of downloads and compiled programs: `PPDIFFUSERS_CACHE`, or ~/.cache/ppdiffusers."""
    return Path(os.environ.get("PPDIFFUSERS_CACHE") or Path.home() / ".cache" / "ppdiffusers").expanduser()


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a path next to `path` to write to; rename it to `path` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    staging = Path(name)
    try:
        yield staging
        _flush_to_disk(staging)
        _set_default_mode(staging, 0o666)
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


@contextmanager
def replace_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a folder next to `path` to fill; rename it to `path` when the block ends without an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield staging
        _set_default_mode(staging, 0o777)
        move_folder_over(staging, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def move_folder_over(staging: Path, path: Path) -> None:
    """Rename a folder to `path`; replace the folder that may exist there."""
    if not path.exists():
        staging.rename(path)
        return
    # A folder with files cannot be replaced by renaming: the old one is renamed first, and restored if that fails.
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


def _set_default_mode(path: Path, mode: int) -> None:
    # tempfile makes private files; set the mode that open() and mkdir() would have set.
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(mode & ~umask)
