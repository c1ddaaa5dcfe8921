"""torch's CPU random engine: the 32-bit Mersenne Twister and torch's uniform numbers.

Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudorandom number generator"
(1998). numpy has the same engine; torch differs in the number of bits that it uses for a number of each dtype.
"""

from __future__ import annotations

import numpy as np

WORDS = 624  # words of the engine's state
CHUNK = 1 << 15  # numbers generated at a time, so that they stay in the processor's cache


class MT19937:
    """The engine, seeded with the low 32 bits of `seed` as torch does."""

    def __init__(self, seed: int):
        self._engine = np.random.MT19937(0)
        self.seed(seed)

    def seed(self, seed: int) -> None:
        """Restart from `seed`; seventy times faster than a new engine."""
        # RandomState seeds an engine by the original `init_genrand`, as torch does; `np.random.MT19937(seed)` would
        # hash the seed first.
        np.random.RandomState(self._engine).seed(seed & 0xFFFFFFFF)
        self.untouched = True  # no word was drawn since the seed was set

    def uint32(self, count: int) -> np.ndarray:
        """Return the next words, [count] uint64 of 32 bits each."""
        self.untouched = self.untouched and count == 0
        return self._engine.random_raw(count)

    def uint64(self, count: int) -> np.ndarray:
        """Return [count] uint64; the first of two words is the upper half."""
        words = self.uint32(2 * count)  # [2 * count]
        return (words[0::2] << np.uint64(32)) | words[1::2]

    def uniform(self, count: int, dtype: str) -> np.ndarray:
        """Return [count] numbers in [0, 1): float64 of 53 random bits for "float64", else float32 of 24 random bits."""
        values: np.ndarray = np.empty(count, dtype=np.float64 if dtype == "float64" else np.float32)  # [count]
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
        """The state words, [624] uint32, and the number of used words."""
        state = self._engine.state["state"]
        return state["key"].copy(), int(state["pos"])

    @state.setter
    def state(self, value: tuple[np.ndarray, int]) -> None:
        key, position = value
        self._engine.state = {
            "bit_generator": "MT19937",
            "state": {"key": np.asarray(key, dtype=np.uint32), "pos": int(position)},
        }
