"""Names of adapters as arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ppdiffusers.core.errors import InputError


def as_names(adapter_names: Any) -> list[str]:
    """Return one name or several as a list."""
    if isinstance(adapter_names, str):
        return [adapter_names]
    if not isinstance(adapter_names, (list, tuple, set, frozenset, Mapping)):
        adapter_names = [adapter_names]
    wrong = [repr(name) for name in adapter_names if not isinstance(name, str)]
    if wrong:
        raise InputError("These are not names of adapters.", problems=wrong, expected="a string, or a list of strings")
    return list(adapter_names)


def unused_name(known: Collection[str]) -> str:
    """Return diffusers' name of an adapter without one: "default_0", "default_1", ..."""
    number = len(known)
    while f"default_{number}" in known:
        number += 1
    return f"default_{number}"
