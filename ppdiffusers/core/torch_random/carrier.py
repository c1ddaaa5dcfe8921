"""Numbers drawn in float32 or float64, in the dtype that was asked."""

from __future__ import annotations

import numpy as np

from ppdiffusers.core.tensors import bfloat16_to_float32, float32_to_bfloat16


def to_carrier(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` rounded to `dtype`, in its numpy carrier: bfloat16 as uint16 bits."""
    if dtype == "bfloat16":
        return float32_to_bfloat16(values)
    return values.astype(dtype, copy=False)


def nearest(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` rounded to `dtype`, still in the dtype they came in."""
    rounded = to_carrier(values, dtype)
    return (bfloat16_to_float32(rounded) if dtype == "bfloat16" else rounded).astype(values.dtype, copy=False)
