"""List, remove and verify the models in the cache."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.core.files import remove_unused
from ppdiffusers.io.snapshot import MANIFEST, PARTIAL, Snapshot, lock_file_of, name_of_folder


@dataclass(frozen=True)
class CachedFolder:
    """A revision of a model in the cache.

    Attributes:
        folder: its folder.
        hub, model, revision, commit: its origin.
        files: number of complete files.
        size: bytes on disk, unfinished downloads included.
        unfinished: bytes of unfinished downloads.
        problem: what is wrong with its manifest, or None.
    """

    folder: Path
    hub: str
    model: str
    revision: str
    commit: str | None
    files: int
    size: int
    unfinished: int
    problem: str | None = None


def list_models(root: Path) -> list[CachedFolder]:
    """List all models in the cache `root` (`snapshot.cache_root`), complete or not, by hub and name."""
    folders = [root]
    for _ in ("hub", "model", "revision"):
        folders = [inside for folder in folders for inside in _folders_in(folder)]
    return [_describe(folder) for folder in sorted(folders)]


def _folders_in(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, without links, which may lead anywhere; none if it is not readable."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    found.append(folder / entry.name)
    return found


def choose_models(
    models: Iterable[CachedFolder], names: Iterable[str], hub: str | None = None, revision: str | None = None
) -> list[CachedFolder]:
    """Select the models with these names, from all hubs and with all revisions unless one is given."""
    wanted = set(names)
    return [
        model
        for model in models
        if model.model in wanted and hub in (None, model.hub) and revision in (None, model.revision)
    ]


def remove_models(models: Iterable[CachedFolder]) -> tuple[list[CachedFolder], dict[str, str]]:
    """Remove models from the disk, except for those that a running process downloads or reads, and other folders.

    Returns:
        The removed models, and for each folder that was kept the reason.
    """
    removed, kept = [], {}
    for model in models:
        if not _is_download(model.folder):
            kept[str(model.folder)] = "it was not downloaded by ppdiffusers"
            continue
        try:
            with FileLock(lock_file_of(model.folder), timeout=0):
                is_removed = remove_unused(model.folder)
            if is_removed:
                removed.append(model)
                for folder in (model.folder.parent, model.folder.parent.parent):
                    _remove_if_empty(folder)
            else:
                kept[str(model.folder)] = "a running process uses it"
        except Timeout:
            kept[str(model.folder)] = "a running process downloads it"
        except OSError as error:
            kept[str(model.folder)] = error.strerror or str(error)
    return removed, kept


def _is_download(folder: Path) -> bool:
    """Return whether a folder has a manifest or unfinished downloads."""
    return any(os.path.lexists(folder / name) for name in (MANIFEST, PARTIAL))


def size_of(folder: Path, suffix: str = "") -> int:
    """Return the bytes of all files in a folder, at any depth, whose names have a suffix; links are not followed."""
    return sum(status.st_size for status in _files_in(folder, suffix))


def _files_in(folder: Path, suffix: str) -> Iterator[os.stat_result]:
    """Yield the status of regular files; what cannot be read is left out."""
    folders = [os.fspath(folder)]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.name.endswith(suffix) and stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                        yield entry.stat(follow_symlinks=False)


def verify_folder(folder: Path, progress: Callable[[int], None] = lambda count: None) -> list[str]:
    """Read every downloaded file of a folder again; return what is wrong.

    Raises:
        InputError: the folder has no manifest, so it is not a finished download.
    """
    try:
        snapshot = Snapshot.load(folder)
    except SourceError as error:
        return [error.what]
    if snapshot is None:
        raise InputError(
            "The folder has no manifest.",
            where=folder,
            expected="a folder of `ppdiffusers download NAME --to FOLDER`, or the name of a cached model",
        )
    return snapshot.damaged(progress)


def _describe(folder: Path) -> CachedFolder:
    hub, model, revision = folder.parts[-3], *(name_of_folder(part) for part in folder.parts[-2:])
    commit, files, problem = None, 0, None
    try:
        snapshot = Snapshot.load(folder)
        if snapshot is None:
            problem = "no file is complete"
        elif snapshot.is_at_home():
            model, revision, commit, files = snapshot.model, snapshot.revision, snapshot.commit, len(snapshot.files)
        else:
            problem = "The manifest of this folder is that of another model."
    except SourceError as error:
        problem = error.what
    unfinished = size_of(folder / PARTIAL, ".part")
    return CachedFolder(folder, hub, model, revision, commit, files, size_of(folder), unfinished, problem)


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder that has only lock files that no process holds."""
    with suppress(OSError, Timeout):
        names = os.listdir(folder)
        if all(name.startswith(".") and name.endswith(".lock") for name in names):
            for name in names:
                with FileLock(folder / name, timeout=0):
                    (folder / name).unlink()
            folder.rmdir()
