"""torch's CPU stream: the numbers that `torch.Generator("cpu")` gives to randn, rand, randint and related calls."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.torch_random.mt19937 import CHUNK, MT19937, WORDS
from ppdiffusers.core.torch_random.storage import round_to, to_storage

BLOCK = 16  # torch transforms 16 uniform numbers at a time into 16 normal numbers
LONG_RANGE = 1 << 28  # integer ranges of this size and above take two words of the engine
# The byte layout of torch's state: seed; words left, seeded, words used; 624 words of 64 bits; the cached normal (an
# unused number, the value, another unused number, a flag); the cached float32 normal, which no CPU kernel sets.
_STATE = struct.Struct(f"<Q ii Q {WORDS}Q ddd i4x f?3x")


class CPUStream:
    """torch's CPU stream: the engine and the cached second normal of the last Box-Muller pair."""

    def __init__(self, seed: int):
        self.engine = MT19937(seed)
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Restart the stream from `seed`."""
        self.seed = seed
        self.engine.seed(seed)
        self.cached_normal: float | None = None

    # -- numbers -------------------------------------------------------------------------------------------------

    def randn(self, count: int, dtype: str) -> np.ndarray:
        """Return [count] standard normal numbers in the storage dtype of `dtype`."""
        if count < BLOCK:
            return to_storage(np.array([self._one_normal() for _ in range(count)], dtype=np.float64), dtype)
        whole = count - count % BLOCK
        # float16 and bfloat16 are drawn in float32 block by block, without the words of an incomplete block
        drawn = count if dtype in ("float32", "float64") else whole
        values = np.empty(count, dtype=np.float64 if dtype == "float64" else np.float32)  # [count]
        values[:drawn] = self.engine.uniform(drawn, dtype)
        for start in range(0, whole, CHUNK):
            _box_muller(values[start : min(start + CHUNK, whole)].reshape(-1, 2, BLOCK // 2))
        if whole < count:  # incomplete block: torch redraws the last 16 values
            tail = self.engine.uniform(BLOCK, dtype)  # [16]
            _box_muller(tail.reshape(-1, 2, BLOCK // 2))
            values[-BLOCK:] = tail
        return to_storage(values, dtype)

    def _one_normal(self) -> float:
        """Return one number of a Box-Muller pair and cache the other; float64 for every dtype."""
        if self.cached_normal is not None:
            value, self.cached_normal = self.cached_normal, None
            return value
        u1, u2 = self.engine.uniform(2, "float64").tolist()
        radius = math.sqrt(-2.0 * math.log1p(-u2))
        theta = 2.0 * math.pi * u1
        self.cached_normal = radius * math.sin(theta)
        return radius * math.cos(theta)

    def rand(self, count: int, dtype: str) -> np.ndarray:
        """Return [count] uniform numbers in [0, 1) in the storage dtype of `dtype`; values that round to 1 become 0."""
        values = self.engine.uniform(count, dtype)  # [count]
        if dtype in ("float16", "bfloat16"):
            values[round_to(values, dtype) == 1.0] = 0.0
        return to_storage(values, dtype)

    def exponential(self, count: int, dtype: str) -> np.ndarray:
        """Return [count] exponential numbers of rate 1, drawn in float64 for every dtype."""
        return to_storage(-np.log1p(-self.engine.uniform(count, "float64")), dtype)

    def randint(self, low: int, high: int, count: int) -> np.ndarray:
        """Return [count] int64 numbers in [low, high)."""
        words = self.engine.uint32(count) if high - low < LONG_RANGE else self.engine.uint64(count)
        return (words % np.uint64(high - low)).view(np.int64) + np.int64(low)

    def randperm(self, count: int) -> np.ndarray:
        """Return a random permutation of 0 to count - 1, [count] int64 (Fisher-Yates shuffle from the front)."""
        order = np.arange(count)
        if count < 2:
            return order
        steps = self.engine.uint32(count - 1) % np.arange(count, 1, -1, dtype=np.uint64)
        for i, step in enumerate(steps.tolist()):
            j = i + step
            order[i], order[j] = order[j], order[i]
        return order

    # -- state ---------------------------------------------------------------------------------------------------

    def get_state(self) -> bytes:
        """Return the 5056 bytes of `torch.Generator("cpu").get_state()`, little-endian."""
        words, used = self.engine.state
        left = WORDS + 1 - used  # torch's count of unused words; 1 means that the engine generates new words first
        cached = self.cached_normal
        return _STATE.pack(
            *(self.seed, left, 1, 0 if self.engine.untouched else used, *words.tolist()),
            *(0.0, cached or 0.0, 0.0, int(cached is not None)),
            *(0.0, False),
        )

    def set_state(self, state: bytes) -> None:
        """Continue from the bytes of `get_state()`, from this class or from torch."""
        if len(state) != _STATE.size:
            raise InputError(
                "The state does not belong to a CPU generator.",
                where=f"{len(state)} bytes",
                expected=f"{_STATE.size} bytes, the layout of torch.Generator('cpu').get_state()",
            )
        seed, left, seeded, used, *rest = _STATE.unpack(state)
        words, (_, normal, _, is_cached, _, _) = rest[:WORDS], rest[WORDS:]
        fits = seeded == 1 and used <= WORDS and (left == 1 if used in (0, WORDS) else left + used == WORDS + 1)
        if not fits or max(words) >= 2**32:
            raise InputError("The bytes are not a valid CPU generator state.", expected="the bytes of get_state()")
        self.seed = seed
        self.engine.state = np.array(words, dtype=np.uint32), WORDS if left == 1 else used
        self.engine.untouched = left == 1 and used == 0
        self.cached_normal = normal if is_cached else None


def _box_muller(blocks: np.ndarray) -> None:
    """Transform uniform numbers into normal ones in place, [blocks, 2, 8]: radii first, then angles.

    Works on contiguous copies of the halves: numpy is fast on long rows and slow on many rows of 8.
    """
    kind = blocks.dtype.type
    uniform = kind(1.0) - np.ascontiguousarray(blocks[:, 0])  # [blocks, 8], in (0, 1]
    angle = kind(2.0 * np.pi) * np.ascontiguousarray(blocks[:, 1])  # [blocks, 8]
    if kind is np.float64:
        # numpy's log, sine and cosine differ from libm's in the last bit on some processors (AVX-512). torch calls
        # libm for float64, so that calling it too gives torch's bits on every machine.
        log, cos, sin = _libm(math.log, uniform), _libm(math.cos, angle), _libm(math.sin, angle)
    else:
        log, cos, sin = np.log(uniform), np.cos(angle), np.sin(angle)
    radius = np.sqrt(kind(-2.0) * log)  # [blocks, 8]
    blocks[:, 0] = radius * cos
    blocks[:, 1] = radius * sin


def _libm(function: Callable[[float], float], values: np.ndarray) -> np.ndarray:
    """Apply a function of `math` to each float64 value."""
    return np.fromiter(map(function, values.ravel().tolist()), np.float64, values.size).reshape(values.shape)
