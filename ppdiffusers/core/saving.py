"""Save several files into a folder, all or none of them; the folder keeps its other files.

Files are written to `.ppdiffusers-save.part` in the folder, which is then renamed to `.ppdiffusers-save`. A save that
was killed before that has no effect. One that was killed after it is completed by the next load or save
(`complete_save`), which moves the files to their places.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ppdiffusers.core.errors import SourceError, UnsafeFileError
from ppdiffusers.core.files import flush_to_disk, locked_folder, restore_folder

_WRITING = ".ppdiffusers-save.part"
_COMMITTED = ".ppdiffusers-save"
_STALE = ".stale.json"  # names of files to remove, in the staging folder
_READ_ONLY_SECONDS = 2.0  # how long a reader that cannot write waits for the process that is saving


@dataclass(frozen=True)
class Save:
    """A save that is being written.

    Attributes:
        folder: the folder to write to.
        target: the folder that the files are moved to.
        root: the staging folder of the whole save, which contains `folder`.
    """

    folder: Path
    target: Path
    root: Path

    def remove(self, names: Iterable[str]) -> None:
        """Remove files of `target` when the save is complete, unless the save contains them."""
        path, prefix = self.root / _STALE, self.folder.absolute().relative_to(self.root)
        added = [(prefix / name).as_posix() for name in names]
        path.write_text(json.dumps([*_read_names(path), *added]), encoding="utf-8")


@contextmanager
def save_together(folder: str | os.PathLike) -> Iterator[Save]:
    """Save all files that the block writes to `Save.folder`, or none of them, into `folder`.

    In the block, a further `save_together` of the folder to write, or of a folder in it, is a part of this save.
    """
    folder = Path(folder)
    root = _staging_root(folder)
    if root is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield Save(folder, root.parent / folder.absolute().relative_to(root), root)
        return
    restore_folder(folder)
    created = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked_folder(folder):
            yield from _save_locked(folder)
    finally:
        if created:
            with suppress(OSError):  # it has files
                folder.rmdir()


def _save_locked(folder: Path) -> Iterator[Save]:
    staging, committed = folder.absolute() / _WRITING, folder.absolute() / _COMMITTED
    if committed.is_dir():
        _move_into_place(committed)
    shutil.rmtree(staging, ignore_errors=True)  # of a process that was killed
    staging.mkdir()
    try:
        yield Save(staging, folder, staging)
        _, stale = _check_moves(staging)
        (staging / _STALE).write_text(json.dumps([path.relative_to(folder.absolute()).as_posix() for path in stale]))
        for path, _, names in os.walk(staging):
            for name in names:
                if not os.path.islink(os.path.join(path, name)):
                    flush_to_disk(Path(path, name))
            flush_to_disk(Path(path))
        staging.rename(committed)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    flush_to_disk(folder)
    _move_into_place(committed)


def complete_save(folder: str | os.PathLike) -> None:
    """Complete saves into a folder, or into the folder that contains it, that were interrupted. Call it before reading.

    Raises:
        SourceError: the files cannot be moved, because the folder is read-only, for one.
        UnsafeFileError: the save names files outside the folder.
    """
    folder = Path(folder).absolute()
    restore_folder(folder)
    for place in (folder.parent, folder):
        if (place / _COMMITTED).is_dir():
            _complete(place)


def _complete(folder: Path) -> None:
    committed, deadline = folder / _COMMITTED, time.monotonic() + _READ_ONLY_SECONDS
    while committed.is_dir():
        try:
            with locked_folder(folder):
                if committed.is_dir():
                    _move_into_place(committed)
        except OSError as error:
            if time.monotonic() < deadline:  # the process that is saving may complete it
                time.sleep(0.05)
                continue
            raise SourceError(
                f"A save to this folder was interrupted and cannot be completed: {error.strerror or error}.",
                where=folder,
                problems=[f"complete files wait in {_COMMITTED}"],
                remedy="load the folder once as a user who can write to it, or copy it and load the copy.",
            ) from error


def _move_into_place(committed: Path) -> None:
    moves, stale = _check_moves(committed)
    folder = committed.parent
    for source, target in moves:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
    for path in stale:
        path.unlink(missing_ok=True)
    for path in {folder, *(target.parent for _, target in moves)}:
        flush_to_disk(path)
    shutil.rmtree(committed)


def _check_moves(staging: Path) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Return (source, target) of each file of a save, and the files to remove."""
    folder = staging.parent
    moves, problems = [], []
    for path, _, names in os.walk(staging):
        sources = [Path(path, name) for name in sorted(names)]
        moves += [(source, folder / source.relative_to(staging)) for source in sources if source != staging / _STALE]
    staged = {target for _, target in moves}
    stale = [folder / name for name in _read_names(staging / _STALE)]
    for target in (*staged, *stale):
        inside = ".." not in target.parts and target.parent.resolve().is_relative_to(folder.resolve())
        if not inside:
            problems.append(f"{target}: outside the folder, or in a folder that is a link out of it")
    if problems:
        raise UnsafeFileError(
            "A save cannot write outside its folder.",
            where=folder,
            problems=problems,
            remedy="save to a folder whose subfolders are not links.",
        )
    for target in staged:
        if target.is_dir() and not target.is_symlink():
            raise IsADirectoryError(21, "A folder has the name of a file to save", str(target))
    return moves, [path for path in stale if path not in staged]


def _read_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    try:
        names = json.loads(path.read_text("utf-8"))
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UnsafeFileError("This file does not come from a save.", where=path, remedy=f"remove {path.parent}.")
    return names


def _staging_root(folder: Path) -> Path | None:
    """Return the staging folder that contains `folder`, or None."""
    folder = folder.absolute()
    return next((path for path in (folder, *folder.parents) if path.name == _WRITING), None)
