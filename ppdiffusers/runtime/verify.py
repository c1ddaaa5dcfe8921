"""The distance between a program's result and eager mode's."""

from __future__ import annotations

from typing import Any

import paddle

from ppdiffusers.runtime.pytree import tree_flatten

# Largest difference allowed, relative to the reference's largest absolute value.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 5e-2}


def distance(result: Any, expected: Any) -> float:
    """Return the largest relative distance between tensors of `result` and `expected`; infinite if the trees differ."""
    found: list[paddle.Tensor] = []
    wanted: list[paddle.Tensor] = []
    if tree_flatten(result, found) != tree_flatten(expected, wanted):
        return float("inf")
    return max((_tensor_distance(a, b) for a, b in zip(found, wanted)), default=0.0)


def _tensor_distance(found: paddle.Tensor, wanted: paddle.Tensor) -> float:
    if list(found.shape) != list(wanted.shape) or found.dtype != wanted.dtype:
        return float("inf")
    if not wanted.size:
        return 0.0
    found, wanted = found.astype("float64"), wanted.astype("float64")
    finite = paddle.isfinite(wanted)
    if not bool((finite == paddle.isfinite(found)).all()):
        return float("inf")
    zero = paddle.zeros_like(wanted)
    difference = paddle.where(finite, found - wanted, zero).abs().max()
    largest = paddle.where(finite, wanted, zero).abs().max()
    return float(difference / paddle.clip(largest, min=1e-30))
