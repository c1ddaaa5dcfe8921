"""The files of an original checkpoint: one, or several in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from ppdiffusers.convert.checkpoints.base import Tensors
from ppdiffusers.convert.checkpoints.families import CheckpointFamily, Part
from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.core.files import absolute_path
from ppdiffusers.io.weights import SUFFIXES, TRAINING_SUFFIXES, open_weights

Files = Mapping[str, "str | os.PathLike"]


def find_files(family: CheckpointFamily, source: Path, files: Files | None = None) -> dict[str, Path]:
    """Find the file of each part of a checkpoint; {"": source} if its family has one file.

    Args:
        source: the file, or the folder with the files.
        files: name of a part -> its file, in place of one in the folder.

    Raises:
        InputError: the family has no such parts.
        SourceError: parts are missing, or have several files; all of them are listed.
    """
    given = {name: absolute_path(path) for name, path in (files or {}).items()}
    unknown = [name for name in given if name not in family.parts]
    if unknown:
        raise InputError(
            f"A checkpoint of {family.title} has no such files: {', '.join(unknown)}.",
            expected=f"some of {', '.join(family.parts)}" if family.parts else "a single file, without `files`",
        )
    if not family.parts:
        return {"": source}
    listed = sorted(path for path in source.iterdir() if path.is_file()) if source.is_dir() else []
    found = dict(given)
    problems = [f"{name}: {path} does not exist" for name, path in given.items() if not path.is_file()]
    for name, part in family.parts.items():
        matches = [] if name in given else [path for path in listed if _belongs_to(path, part)]
        if len(matches) == 1:
            found[name] = matches[0]
        elif matches:
            problems.append(f"{name}: {', '.join(path.name for path in matches)} are several candidates")
        elif name not in given and not part.optional:
            problems.append(f"{name}: there is no {' or '.join(part.patterns)}")
    if problems:
        raise SourceError(
            f"A checkpoint of {family.title} is incomplete.",
            where=source,
            problems=problems,
            expected=f"a folder with one file for each of {', '.join(family.parts)}",
            remedy='name other files with --file PART=FILE (Python: files={"part": file}).',
        )
    return {name: found[name] for name in family.parts if name in found}


def open_files(family: CheckpointFamily, files: Mapping[str, Path]) -> Tensors:
    """Open the files of `find_files`; with several, the names of tensors start with the name of their part."""
    if not family.parts:
        return open_weights(files[""], nested=True)
    return {
        f"{name}/{key}": tensor
        for name, path in files.items()
        if family.parts[name].has_weights
        for key, tensor in open_weights(path, nested=True).items()
    }


def _belongs_to(path: Path, part: Part) -> bool:
    named = any(fnmatch(path.name, pattern) for pattern in part.patterns)
    return named and (not part.has_weights or path.suffix in (*SUFFIXES, *TRAINING_SUFFIXES))
