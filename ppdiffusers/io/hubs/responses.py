"""Parsing the responses of hubs: a malformed response raises one error about this hub."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ppdiffusers.core.errors import SourceError


def parse_json(body: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        SourceError: the body is not JSON, or not an object.
    """
    try:
        value = json.loads(body.decode("utf-8"))
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
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise SourceError(f"The response is not {what}.", where=where, problems=[repr(error)]) from error


def as_size(value: object) -> int | None:
    """Check a number of bytes in a response; None means that the hub does not know it.

    Raises:
        TypeError: the value is neither.
    """
    if value is None or (isinstance(value, int) and value >= 0):
        return value
    raise TypeError(f"a size is {value!r}")
