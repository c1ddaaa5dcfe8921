"""Addresses in messages: queries and user information may contain tokens."""

from __future__ import annotations

import re

_WEB = ("http://", "https://")
_USER = re.compile(r"(?<=://)[^/\s]*@")
_QUERY = re.compile(r"(?<=[^\s?])\?\S+")


def is_web_address(source: object) -> bool:
    """Return whether an argument is an http(s) address."""
    return isinstance(source, str) and source.lower().startswith(_WEB)


def shown_address(address: str) -> str:
    """Return an address without its query, fragment and user information."""
    return _USER.sub("", re.split(r"[?#]", address, maxsplit=1)[0])


def without_secrets(text: str) -> str:
    """Return a text, such as a message of another library, with its addresses as `shown_address` returns them."""
    return _QUERY.sub("", _USER.sub("", text))
