"""What lies in the cache of models: listed, removed, read again."""

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
        folder: where it lies.
        source, model, revision, commit: where it is from.
        files: how many were fetched whole.
        size: bytes on disk, unfinished downloads included.
        unfinished: bytes of files that are not whole yet.
        problem: what is wrong with its manifest, if anything is.
    """

    folder: Path
    source: str
    model: str
    revision: str
    commit: str | None
    files: int
    size: int
    unfinished: int
    problem: str | None = None


def list_models(root: Path) -> list[CachedFolder]:
    """Everything in the cache `root` (`snapshot.cache_root`), whole or not, by source and name."""
    folders = (path for path in root.glob("*/*/*") if path.is_dir() and not path.name.startswith("."))
    return [_describe(folder) for folder in sorted(folders)]


def choose_models(
    models: Iterable[CachedFolder], names: Iterable[str], source: str | None = None, revision: str | None = None
) -> list[CachedFolder]:
    """Those of these names, of all sources and revisions unless one is given."""
    wanted = set(names)
    return [
        model
        for model in models
        if model.model in wanted and source in (None, model.source) and revision in (None, model.revision)
    ]


def remove_models(models: Iterable[CachedFolder]) -> None:
    """Remove them from the disk; one that another process is downloading into is waited for."""
    for model in models:
        with locked(model.folder):
            shutil.rmtree(model.folder)
        for folder in (model.folder.parent, model.folder.parent.parent):
            _remove_if_empty(folder)


def size_of(folder: Path, pattern: str = "*") -> int:
    """Bytes of all files of these names in a folder, at any depth."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def verify_folder(folder: Path, progress: Callable[[int], None] = lambda count: None) -> list[str]:
    """Read every fetched file of a folder again: what is wrong with it.

    Raises:
        InputError: the folder has no manifest: it was not made by a download.
    """
    try:
        snapshot = Snapshot.load(folder)
    except SourceError as error:
        return [error.what]
    if snapshot is None:
        raise InputError(
            "This folder has no manifest.",
            where=folder,
            expected="a folder that `ppdiffusers download NAME --to FOLDER` made, or the name of a cached model",
        )
    return snapshot.damaged(progress)


def _describe(folder: Path) -> CachedFolder:
    source, model, revision = folder.parts[-3], *(name_of_folder(part) for part in folder.parts[-2:])
    commit, files, problem = None, 0, None
    try:
        snapshot = Snapshot.load(folder)
        if snapshot is None:
            problem = "nothing was fetched whole"
        else:
            model, revision, commit, files = snapshot.model, snapshot.revision, snapshot.commit, len(snapshot.files)
    except SourceError as error:
        problem = error.what
    unfinished = size_of(folder / PARTIAL, "*.part")
    return CachedFolder(folder, source, model, revision, commit, files, size_of(folder), unfinished, problem)


def _remove_if_empty(folder: Path) -> None:
    """Locks are nothing."""
    if all(path.name.startswith(".") and path.suffix == ".lock" for path in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
