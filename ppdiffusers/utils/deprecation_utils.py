"""Warnings about deprecated arguments, attributes and functions."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from packaging.version import parse

from ppdiffusers.version import __version__

# Scripts and pipelines of users count versions of diffusers or of ppdiffusers 0.29, which is the lower one.
_VERSION_OF_SCRIPTS = "0.29"


def deprecate(
    *args: Any, take_from: dict[str, Any] | object | None = None, standard_warn: bool = True, stacklevel: int = 2
) -> Any:
    """Warn about deprecated names and return the values that were given under them.

    Args:
        args: name, version that removes it, and message; or several tuples of the three.
        take_from: keyword arguments, from which the names are removed, or an object with attributes; None if the
            caller itself is deprecated.
        standard_warn: whether the message starts with a standard sentence.
        stacklevel: as in `warnings.warn`.

    Returns:
        The value, a tuple of several values, or None.

    Raises:
        ValueError: a version that is not above ours, or for callers outside ppdiffusers not above 0.29: the deprecated
            name is to be removed.
        TypeError: keyword arguments are left that are not deprecated.
    """
    values = []
    caller = sys._getframe(1)
    ours = caller.f_globals.get("__name__", "").startswith("ppdiffusers.")
    version = parse(__version__).base_version if ours else _VERSION_OF_SCRIPTS
    for name, removal, message in args if isinstance(args[0], tuple) else (args,):
        if parse(version) >= parse(removal):
            raise ValueError(f"Remove the deprecation {(name, removal, message)}: the version is {version}.")
        subject = _deprecated_subject(name, take_from, values)
        if subject is not None:
            standard = f"{subject} is deprecated and will be removed in version {removal}. " if standard_warn else ""
            warnings.warn(standard + message, FutureWarning, stacklevel=stacklevel)
    if isinstance(take_from, dict) and take_from:
        code = caller.f_code
        raise TypeError(
            f"{code.co_name} in {code.co_filename} line {caller.f_lineno} got an unexpected keyword argument "
            f"{', '.join(f'`{name}`' for name in take_from)}"
        )
    return values[0] if len(values) == 1 else tuple(values) or None


def _deprecated_subject(name: str, take_from: Any, values: list) -> str | None:
    """What the warning is about, if the name is used; its value is appended to `values`."""
    if take_from is None:
        return f"`{name}`"
    if isinstance(take_from, dict):
        if name not in take_from:
            return None
        values.append(take_from.pop(name))
        return f"The `{name}` argument"
    if not hasattr(take_from, name):
        return None
    values.append(getattr(take_from, name))
    return f"The `{name}` attribute"
