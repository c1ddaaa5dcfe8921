"""Read small text and JSON files: judged before they are read, limited in size, and refused with one kind of error."""

from __future__ import annotations

import gzip
import json
import logging
import math
import os
import stat
import zlib
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from ppdiffusers.core.errors import ConfigError

logger = logging.getLogger(__name__)

LARGEST_FILE = 64 << 20  # bytes; the largest tokenizer.json of a published model has 17 MB
_MOST_DIGITS = 64  # of an integer; transformers writes 10^30 for "unlimited"
_DEEPEST = 32  # levels of objects and lists
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_bytes(path: str | os.PathLike, limit: int = LARGEST_FILE) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        ConfigError: it is missing, is not a regular file, is too large, or cannot be read.
    """
    try:
        status = os.stat(path)
        problem = next((f"it is {kind}" for is_kind, kind in _KINDS if is_kind(status.st_mode)), None)
        if problem is None:
            with open(path, "rb") as file:
                content = file.read(limit + 1)  # files of the system (/proc) have the size 0
            if len(content) <= limit:
                return content
            problem = f"it has more than {limit} bytes"
    except FileNotFoundError:
        raise ConfigError("A configuration file is missing.", where=path, remedy="check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        problem = getattr(error, "strerror", None) or str(error)
    raise ConfigError(f"A configuration file cannot be read: {problem}.", where=path, expected="a small regular file")


def read_text(path: str | os.PathLike, limit: int = LARGEST_FILE) -> str:
    """Read a regular UTF-8 file, compressed if its name ends with ".gz".

    Raises:
        ConfigError: as `read_bytes`; or the file is not UTF-8, or has more than `limit` bytes when it is decompressed.
    """
    content = read_bytes(path, limit)
    if Path(path).suffix == ".gz":
        content = _decompressed(content, path, limit)
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"A configuration file is not UTF-8 text: {error.reason} at byte {error.start}.",
            where=path,
            remedy="download or save the file again: it is truncated, damaged, or has another encoding.",
        ) from error


def _decompressed(content: bytes, path: str | os.PathLike, limit: int) -> bytes:
    try:
        with gzip.open(BytesIO(content)) as file:
            inside = file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"A compressed file is damaged: {error}.", where=path) from error
    if len(inside) > limit:
        raise ConfigError(f"A compressed file has more than {limit} bytes inside.", where=path)
    return inside


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        ConfigError: as `read_text`; or the content is not a JSON object (`parse_json`).
    """
    path = Path(path)
    text = read_text(path)
    try:
        loaded = parse_json(text, path)
    except ValueError as error:
        raise ConfigError(
            f"A configuration file is not readable JSON: {error}.",
            where=path,
            remedy="download or save the file again: it is truncated or damaged.",
        ) from error
    if not isinstance(loaded, dict):
        raise ConfigError("A configuration file is not a JSON object.", where=path, expected="{...}")
    return loaded


def parse_json(text: str | bytes, where: object = None) -> Any:
    """Parse JSON. Infinity is accepted, because diffusers writes it (`lambda_min_clipped`); NaN is not.

    Of a key that is given twice the last value counts, as in diffusers; a warning names it.

    Raises:
        ValueError: the text is not JSON, is nested too deeply, or has numbers that cannot be represented.
    """

    def as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            seen: dict[str, Any] = {}
            repeated = [key for key, value in pairs if seen.setdefault(key, value) is not value]
            logger.warning("%s: keys are given more than once, the last value counts: %s", where, repeated[:10])
        return made

    try:
        parsed = json.loads(
            text,
            parse_int=_parse_integer,
            parse_float=_parse_number,
            parse_constant=_parse_constant,
            object_pairs_hook=as_dict,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [parsed]
    for _ in range(_DEEPEST):
        members = (member for value in level if isinstance(value, (dict, list)) for member in _members(value))
        level = [member for member in members if isinstance(member, (dict, list))]
    if level:
        raise ValueError(f"it is nested more than {_DEEPEST} levels deep")
    return parsed


def _members(value: dict | list) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _parse_integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"an integer has {len(digits)} digits")
    return int(digits)


def _parse_number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


def _parse_constant(name: str) -> float:
    if name == "NaN":
        raise ValueError("a value is NaN")
    return float(name)


def string_problems(values: Mapping[str, object], kind: type, what: str) -> list[str]:
    """List the entries of a table, such as a vocabulary, whose values are not of a type; at most ten."""
    wrong = [key for key, value in values.items() if not isinstance(value, kind) or isinstance(value, bool)]
    return [f"{key!r}: {what} is {type(values[key]).__name__}" for key in wrong[:10]]
