"""Web addresses in messages: without user names, passwords and queries, which can hold access tokens."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"\bhttps?://[^\s'\"<>]*", re.IGNORECASE)
_PATH = re.compile(r"(with url: [^\s?]*)\?[^\s)]*")  # of a request, as urllib3 writes it
_KEPT = re.compile(r"(?:Revision|FilePath)=[^&#]*")  # parameters of ModelScope that say which file it is


def shown_address(text: str) -> str:
    """Return a web address as it may be shown; other text is returned unchanged."""
    scheme, separator, rest = text.partition("://")
    if scheme.strip().lower() not in ("http", "https"):
        return text
    place, _, query = rest.partition("#")[0].partition("?")
    authority, slash, path = place.partition("/")
    kept = "&".join(_KEPT.findall(query))
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}{'?' * bool(kept)}{kept}"


def hide_secrets(text: str) -> str:
    """Return a text with the addresses in it as they may be shown."""
    return _PATH.sub(r"\1", _ADDRESS.sub(lambda found: shown_address(found[0]), text))
