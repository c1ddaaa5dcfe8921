"""Cast random numbers from the dtype they are drawn in to the requested dtype."""

from __future__ import annotations

import numpy as np

from ppdiffusers.core.tensors import bfloat16_to_float32, float32_to_bfloat16


def to_storage(values: np.ndarray, dtype: str) -> np.ndarray:
    """Round `values` to `dtype` and return them in its numpy storage dtype: uint16 bits for bfloat16."""
    if dtype == "bfloat16":
        return float32_to_bfloat16(values)
    return values.astype(dtype, copy=False)


def round_to(values: np.ndarray, dtype: str) -> np.ndarray:
    """Round `values` to the precision of `dtype` and keep their own dtype."""
    rounded = to_storage(values, dtype)
    return (bfloat16_to_float32(rounded) if dtype == "bfloat16" else rounded).astype(values.dtype, copy=False)
