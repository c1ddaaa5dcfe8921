"""The numbers torch draws on a CPU: what `torch.Generator("cpu")` gives to randn, rand, randint and their like."""

from __future__ import annotations

import numpy as np

from ppdiffusers.core.tensors import bfloat16_to_float32, float32_to_bfloat16
from ppdiffusers.core.torch_random.mt19937 import MT19937

BLOCK = 16  # torch turns 16 uniform numbers at a time into 16 normal ones
CHUNK = 1 << 14  # numbers transformed at a time, so that they stay in the processor's cache


class CPUStream:
    """A stream of torch's CPU numbers: the engine, and the second normal of a pair when it waits for its turn."""

    def __init__(self, seed: int):
        self.seed = seed
        self.engine = MT19937(seed)
        self.waiting_normal: float | None = None

    # -- normal numbers ------------------------------------------------------------------------------------------

    def randn(self, count: int, dtype: str) -> np.ndarray:
        """[count] standard normal numbers in the carrier of `dtype`."""
        if count < BLOCK:
            return _rounded(np.array([self._one_normal() for _ in range(count)], dtype=np.float64), dtype)
        whole = count - count % BLOCK
        # 16-bit dtypes are drawn in float32 block by block: the words of an incomplete block are not skipped
        drawn = count if dtype in ("float32", "float64") else whole
        values = np.empty(count, dtype=np.float64 if dtype == "float64" else np.float32)  # [count]
        values[:drawn] = self.engine.uniform(drawn, dtype)
        for start in range(0, whole, CHUNK):
            _box_muller(values[start : min(start + CHUNK, whole)].reshape(-1, 2, BLOCK // 2))
        if whole < count:  # an incomplete block: the last 16 values are drawn anew
            tail = self.engine.uniform(BLOCK, dtype)
            _box_muller(tail.reshape(-1, 2, BLOCK // 2))
            values[-BLOCK:] = tail
        return _rounded(values, dtype)

    def _one_normal(self) -> float:
        """Box and Muller's pair in float64, whatever the dtype: one of it now, the other at the next call."""
        if self.waiting_normal is not None:
            value, self.waiting_normal = self.waiting_normal, None
            return value
        u1, u2 = self.engine.uniform(2, "float64")
        radius = np.sqrt(-2.0 * np.log1p(-u2))
        theta = 2.0 * np.pi * u1
        self.waiting_normal = float(radius * np.sin(theta))
        return float(radius * np.cos(theta))

    # -- uniform numbers -----------------------------------------------------------------------------------------

    def rand(self, count: int, dtype: str) -> np.ndarray:
        """[count] numbers in [0, 1) in the carrier of `dtype`."""
        values = self.engine.uniform(count, dtype)
        if dtype in ("float16", "bfloat16"):  # drawn in float32: what rounds up to 1 becomes 0
            values[_nearest(values, dtype) == 1.0] = 0.0
        return _rounded(values, dtype)


def _rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """`values` in the numpy carrier of `dtype` (bfloat16 as uint16 bits)."""
    if dtype == "bfloat16":
        return float32_to_bfloat16(values.astype(np.float32))
    return values.astype(dtype, copy=False)


def _nearest(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 `values` rounded to a 16-bit dtype, as float32."""
    if dtype == "bfloat16":
        return bfloat16_to_float32(float32_to_bfloat16(values))
    return values.astype(np.float16).astype(np.float32)


def _box_muller(blocks: np.ndarray) -> None:
    """In place, [blocks, 2, 8] uniform -> normal: the first 8 of a block give radii, the last 8 angles."""
    kind = blocks.dtype.type
    u1, u2 = blocks[:, 0], blocks[:, 1]
    radius = np.sqrt(kind(-2.0) * np.log(kind(1.0) - u1))
    theta = kind(2.0 * np.pi) * u2
    blocks[:, 0] = radius * np.cos(theta)
    blocks[:, 1] = radius * np.sin(theta)
