"""How far a program's result is from eager mode's."""

from __future__ import annotations

from typing import Any

import paddle

from ppdiffusers.runtime.structure import flatten

# Largest difference allowed, as a share of the reference's largest value.
TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2, "float16": 5e-2}


def distance(result: Any, expected: Any) -> float:
    """The largest relative distance of any tensor in `result` from its counterpart; infinite if the forms differ."""
    found: list[paddle.Tensor] = []
    wanted: list[paddle.Tensor] = []
    if flatten(result, found) != flatten(expected, wanted):
        return float("inf")
    return max((_one(a, b) for a, b in zip(found, wanted)), default=0.0)


def _one(found: paddle.Tensor, wanted: paddle.Tensor) -> float:
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
