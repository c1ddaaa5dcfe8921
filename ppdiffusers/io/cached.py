"""List, remove and verify the models in the cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.io.snapshot import PARTIAL, Snapshot, locked, name_of_folder


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
    folders = (path for path in root.glob("*/*/*") if path.is_dir() and not path.name.startswith("."))
    return [_describe(folder) for folder in sorted(folders)]


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


def remove_models(models: Iterable[CachedFolder]) -> None:
    """Remove models from the disk; wait for a process that is downloading one of them."""
    for model in models:
        with locked(model.folder):
            shutil.rmtree(model.folder)
        for folder in (model.folder.parent, model.folder.parent.parent):
            _remove_if_empty(folder)


def size_of(folder: Path, pattern: str = "*") -> int:
    """Return the bytes of all files in a folder, at any depth, whose names match a pattern."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def verify_folder(folder: Path, progress: Callable[[int], None] = lambda count: None) -> list[str]:
    """Read every downloaded file of a folder again; return what is wrong.

    Raises:
        InputError: the folder has no manifest, so it is not a download.
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
        else:
            model, revision, commit, files = snapshot.model, snapshot.revision, snapshot.commit, len(snapshot.files)
    except SourceError as error:
        problem = error.what
    unfinished = size_of(folder / PARTIAL, "*.part")
    return CachedFolder(folder, hub, model, revision, commit, files, size_of(folder), unfinished, problem)


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder that has only lock files."""
    if all(path.name.startswith(".") and path.suffix == ".lock" for path in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
