"""torch's CPU random engine: the 32-bit Mersenne Twister, and the uniform numbers torch makes of it.

Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudorandom number generator"
(1998). numpy has the same engine; what is torch's own is how many bits of it become one number of each dtype.
"""

from __future__ import annotations

import numpy as np

WORDS = 624  # the length of the engine's state
CHUNK = 1 << 15  # numbers made at a time, so that they stay in the processor's cache


class MT19937:
    """The engine, seeded with the low 32 bits of `seed` as torch does."""

    def __init__(self, seed: int):
        self._engine = np.random.MT19937(0)
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Start anew, seventy times as fast as a new engine is made."""
        # RandomState seeds an engine with an integer by the original `init_genrand`, which is what torch does;
        # `np.random.MT19937(seed)` would hash the seed first.
        np.random.RandomState(self._engine).seed(seed & 0xFFFFFFFF)
        self.untouched = True  # nothing was drawn since the seed

    def uint32(self, count: int) -> np.ndarray:
        """The next `count` words: [count] uint64 holding 32 bits each."""
        self.untouched = self.untouched and count == 0
        return self._engine.random_raw(count)

    def uint64(self, count: int) -> np.ndarray:
        """[count] uint64; the first of two words is the upper half."""
        words = self.uint32(2 * count)  # [2 * count]
        return (words[0::2] << np.uint64(32)) | words[1::2]

    def uniform(self, count: int, dtype: str) -> np.ndarray:
        """[count] numbers in [0, 1): float64 of 53 random bits for "float64", else float32 of 24 random bits."""
        values = np.empty(count, dtype=np.float64 if dtype == "float64" else np.float32)
        for start in range(0, count, CHUNK):
            part = values[start : start + CHUNK]
            if dtype == "float64":
                part[:] = (self.uint64(len(part)) & np.uint64(2**53 - 1)).view(np.int64)
                part *= 2.0**-53
            else:
                part[:] = (self.uint32(len(part)).astype(np.uint32) & np.uint32(2**24 - 1)).view(np.int32)
                part *= np.float32(2.0**-24)
        return values

    @property
    def state(self) -> tuple[np.ndarray, int]:
        """The state words [624] uint32 and how many of them are used up."""
        state = self._engine.state["state"]
        return state["key"].copy(), int(state["pos"])

    @state.setter
    def state(self, value: tuple[np.ndarray, int]) -> None:
        key, position = value
        self._engine.state = {
            "bit_generator": "MT19937",
            "state": {"key": np.asarray(key, dtype=np.uint32), "pos": int(position)},
        }
