"""Access tokens: invisible characters around them are removed, others are refused. No message contains a token."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from ppdiffusers.core.errors import InputError, SourceError

_INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")  # controls, formats such as zero-width spaces, separators


def clean_token(token: str, name: str, error: type[InputError | SourceError] = SourceError) -> str:
    """Return a token without the line breaks, spaces and invisible characters around it, which copying adds.

    Args:
        name: what holds the token, for the message.
        error: what to raise.

    Raises:
        SourceError, or `error`: it has such a character inside, or another that no token has.
    """
    first, last = 0, len(token)
    while first < last and _is_invisible(token[first]):
        first += 1
    while last > first and _is_invisible(token[last - 1]):
        last -= 1
    cleaned = token[first:last]
    problem = _problem(cleaned)
    if problem:
        raise error(f"{name} is not an access token: {problem}.", remedy="copy the token again.")
    return cleaned


def check_headers(headers: Mapping[str, str]) -> None:
    """Check the headers of a request, whose tokens other libraries may have read.

    Raises:
        SourceError: a header cannot be sent; its value is not shown.
    """
    for name, value in headers.items():
        problem = _problem(str(value), allowed=" ")
        if problem:
            raise SourceError(
                f"The header {name} of a request, with an access token, cannot be sent: {problem}.",
                remedy="set the token of the environment or of the login again.",
            )


def _problem(text: str, allowed: str = "") -> str | None:
    for position, character in enumerate(text):
        if character not in allowed and not "!" <= character <= "~":
            kind = "a line break" if character in "\r\n" else "an invisible character"
            if not _is_invisible(character):
                kind = "a character that is not ASCII"
            return f"it has {kind} at position {position}"
    return None


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE
