"""Comparisons of versions."""

from __future__ import annotations

import importlib.metadata
import operator
from collections.abc import Callable

from packaging.version import Version, parse

from ppdiffusers.version import __version__

_OPERATIONS: dict[str, Callable[[Version, Version], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    "<": operator.lt,
}


def check_min_version(min_version: str) -> None:
    """Raise an ImportError if this release of ppdiffusers is below a version."""
    if parse(__version__) < parse(min_version):
        raise ImportError(
            f"This script requires ppdiffusers {min_version} or newer; the installed version is {__version__}. "
            "Update it: pip install --upgrade ppdiffusers"
        )


def compare_versions(library_or_version: str | Version, operation: str, requirement_version: str) -> bool:
    """Compare a version, or the version of an installed package, with another: `compare_versions("numpy", ">=", "2")`.

    Raises:
        ValueError: the operation is unknown.
    """
    if operation not in _OPERATIONS:
        raise ValueError(f"Unknown comparison {operation!r}: use one of {', '.join(_OPERATIONS)}.")
    if isinstance(library_or_version, str):
        library_or_version = parse(_installed_version(library_or_version))
    return _OPERATIONS[operation](library_or_version, parse(requirement_version))


def _installed_version(name: str) -> str:
    """Return the version of a package, by its name or by the name of its module ("paddle" of paddlepaddle-gpu)."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        packages = importlib.metadata.packages_distributions().get(name)
        if packages is None:
            raise
        return importlib.metadata.version(packages[0])
