"""Normalize shape arguments."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from ppdiffusers.core.errors import InputError


def as_shape(shape: Sequence[int] | int) -> tuple[int, ...]:
    """Return a tuple of sizes from a sequence of integers, numpy integers included, or from one integer."""
    sizes = tuple(shape) if hasattr(shape, "__iter__") else (shape,)
    try:
        sizes = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise InputError("A shape must consist of integers.", where=repr(shape)) from None
    if any(size < 0 for size in sizes):
        raise InputError("A shape has a negative size.", where=repr(sizes))
    return sizes
