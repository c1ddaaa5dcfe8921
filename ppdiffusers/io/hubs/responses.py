"""Parsing the responses of hubs: a malformed response raises one error about this hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ppdiffusers.core import reading
from ppdiffusers.core.errors import PPDiffusersError, SourceError


def parse_json(body: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        SourceError: the body is not JSON, or not an object.
    """
    try:
        value = reading.parse_json(body.decode("utf-8"), where)
    except ValueError as error:
        raise SourceError("The response is not JSON.", where=where, problems=[str(error)]) from error
    if not isinstance(value, dict):
        raise SourceError("The response is not a JSON object.", where=where)
    return value


@contextmanager
def well_formed(what: str, where: str) -> Iterator[None]:
    """Turn the errors of missing fields and wrong types in a response into one error.

    Raises:
        SourceError: "The response is not `what`."
    """
    try:
        yield
    except PPDiffusersError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise SourceError(f"The response is not {what}.", where=where, problems=[repr(error)]) from error


def as_hash(value: object) -> str:
    """Check a checksum or commit in a response: hexadecimal digits.

    Raises:
        TypeError: the value is not one.
    """
    if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{7,64}", value):
        return value.lower()
    raise TypeError(f"{str(value)[:100]!r} is not a hash")


def as_size(value: object) -> int | None:
    """Check a number of bytes in a response; None means that the hub does not know it.

    Raises:
        TypeError: the value is neither.
    """
    if value is None or (type(value) is int and 0 <= value < 2**63):
        return value
    raise TypeError(f"a size is {value!r}")
