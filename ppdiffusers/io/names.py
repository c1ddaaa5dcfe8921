"""Checks of the names of models, revisions and files."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath

from ppdiffusers.core.errors import SourceError, UnsafeFileError

# "owner/name"; names on PaddleNLP's hub have one to three parts.
_PART = r"[^\W_][\w.\-]*"
_NAME = re.compile(rf"{_PART}(/{_PART}){{0,2}}")
_REVISION = re.compile(r"[\w][\w.\-]*(/[\w][\w.\-]*)*")


def check_name(name: str) -> str:
    """Return `name` if it can be the name of a model on a hub.

    Raises:
        SourceError: it is a path, an address, or points outside a folder.
    """
    if _NAME.fullmatch(name) and ".." not in name:
        return name
    page = re.fullmatch(r"https?://[^/]+/(?:models/)?([\w.\-]+/[\w.\-]+)/?", name)
    raise SourceError(
        "The model folder does not exist, and this is not a valid model name.",
        where=name,
        expected='a folder, or a name such as "runwayml/stable-diffusion-v1-5"',
        remedy=f'give the name: "{page[1]}"' if page else "check the path or the name.",
    )


def check_revision(revision: str) -> str:
    """Return `revision` if it can be a branch, a tag or a commit.

    Raises:
        SourceError: it is not valid.
    """
    if isinstance(revision, str) and _REVISION.fullmatch(revision) and ".." not in revision:
        return revision
    raise SourceError("This is not a valid revision.", where=repr(revision), expected="a branch, a tag or a commit")


def check_listed_name(path: str, where: object) -> str:
    """Return `path`, a name in the list of a hub's files, if it does not leave the folder; it may be unusable here.

    Raises:
        UnsafeFileError: it is absolute, or has ".." or half a character.
    """
    windows = PureWindowsPath(path)
    leaves = PurePosixPath(path).is_absolute() or windows.anchor not in ("", windows.drive) or ".." in windows.parts
    if leaves or not path or re.search(r"[\0\ud800-\udfff]", path):
        raise _outside(path, where)
    return path


def check_file_name(path: str, where: object) -> str:
    """Return `path` if it is inside the folder that it is relative to; parts are separated by "/".

    Raises:
        UnsafeFileError: it is absolute, or has "..", a drive, a backslash or half a character.
    """
    parts = path.split("/")
    plain = bool(path) and all(part not in ("", ".", "..") for part in parts)
    if plain and not re.search(r'[\\:*?"<>|\x00-\x1f\ud800-\udfff]', path) and not PurePosixPath(path).is_absolute():
        return path
    raise _outside(path, where)


def _outside(path: str, where: object) -> UnsafeFileError:
    return UnsafeFileError(
        "A model names a file outside its folder.",
        where=where,
        problems=[repr(path)],
        expected='plain names, such as "unet/config.json"',
        remedy="do not use this model unless you trust its authors.",
    )
