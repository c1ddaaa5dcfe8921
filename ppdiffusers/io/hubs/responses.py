"""Reading what a server says: whatever is not what it should be ends as one error about this source."""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ppdiffusers.core.errors import SourceError


def parse_json(body: bytes, where: str) -> dict[str, Any]:
    """What a JSON text says.

    Raises:
        SourceError: it is none, or no object.
    """
    try:
        value = json.loads(body.decode("utf-8"))
    except ValueError as error:
        raise SourceError("This is not JSON.", where=where, problems=[str(error)]) from error
    if not isinstance(value, dict):
        raise SourceError("This JSON file holds no object.", where=where)
    return value


@contextmanager
def well_formed(what: str, where: str) -> Iterator[None]:
    """Inside, an answer's fields are read: those that are missing or of another kind end as one error.

    Raises:
        SourceError: "This is not `what`."
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise SourceError(f"This is not {what}.", where=where, problems=[repr(error)]) from error


def as_size(value: Any) -> int | None:
    """A number of bytes in an answer; None if the source does not know it.

    Raises:
        TypeError: it is something else.
    """
    if value is None or (isinstance(value, int) and value >= 0):
        return value
    raise TypeError(f"a size is {value!r}")
