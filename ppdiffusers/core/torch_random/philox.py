"""Philox 4x32-10, the counter-based engine of torch on NVIDIA GPUs.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
"""

from __future__ import annotations

import numpy as np

ROUNDS = 10
MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # fractional bits of the golden ratio and of the square root of 3
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox4x32(counter: np.ndarray, key: int) -> np.ndarray:
    """Compute four random words for each counter.

    Args:
        counter: the words of n 128-bit counters, lowest first, [4, n].
        key: a 64-bit integer.

    Returns:
        [4, n] uint64 of 32 bits each.
    """
    x0, x1, x2, x3 = (np.asarray(word, dtype=np.uint64) for word in counter)  # [n] each
    low, high = key & 0xFFFFFFFF, key >> 32
    for _ in range(ROUNDS):
        left, right = x0 * MULTIPLIERS[0], x2 * MULTIPLIERS[1]  # 32 x 32 -> 64 bits
        x0, x1, x2, x3 = (
            (right >> HALF) ^ x1 ^ np.uint64(low),
            right & LOW,
            (left >> HALF) ^ x3 ^ np.uint64(high),
            left & LOW,
        )
        low, high = (low + KEY_STEPS[0]) & 0xFFFFFFFF, (high + KEY_STEPS[1]) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3])
