"""The numbers torch draws on a CPU: what `torch.Generator("cpu")` gives to randn, rand, randint and their like."""

from __future__ import annotations

import struct

import numpy as np

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.torch_random.carrier import nearest, to_carrier
from ppdiffusers.core.torch_random.mt19937 import CHUNK, MT19937, WORDS

BLOCK = 16  # torch turns 16 uniform numbers at a time into 16 normal ones
LONG_RANGE = 1 << 28  # from this range on an integer takes two words of the engine
# torch's own bytes: seed; words left, seeded, words used; 624 words of 64 bits; the pair's waiting normal (a number
# unused today, its value, another unused one, whether there is one); a float32 pair's, which no CPU kernel sets.
_STATE = struct.Struct(f"<Q ii Q {WORDS}Q ddd i4x f?3x")


class CPUStream:
    """A stream of torch's CPU numbers: the engine, and the second normal of a pair while it waits for its turn."""

    def __init__(self, seed: int):
        self.engine = MT19937(seed)
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Begin the stream of `seed`."""
        self.seed = seed
        self.engine.seed(seed)
        self.waiting_normal: float | None = None

    # -- numbers -------------------------------------------------------------------------------------------------

    def randn(self, count: int, dtype: str) -> np.ndarray:
        """[count] standard normal numbers in the carrier of `dtype`."""
        if count < BLOCK:
            return to_carrier(np.array([self._one_normal() for _ in range(count)], dtype=np.float64), dtype)
        whole = count - count % BLOCK
        # float16 and bfloat16 are drawn in float32, block by block: an incomplete block's words are not passed over
        drawn = count if dtype in ("float32", "float64") else whole
        values = np.empty(count, dtype=np.float64 if dtype == "float64" else np.float32)  # [count]
        values[:drawn] = self.engine.uniform(drawn, dtype)
        for start in range(0, whole, CHUNK):
            _box_muller(values[start : min(start + CHUNK, whole)].reshape(-1, 2, BLOCK // 2))
        if whole < count:  # an incomplete block: the last 16 values are drawn anew
            tail = self.engine.uniform(BLOCK, dtype)
            _box_muller(tail.reshape(-1, 2, BLOCK // 2))
            values[-BLOCK:] = tail
        return to_carrier(values, dtype)

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

    def rand(self, count: int, dtype: str) -> np.ndarray:
        """[count] numbers in [0, 1) in the carrier of `dtype`; what rounds up to 1 becomes 0."""
        values = self.engine.uniform(count, dtype)
        if dtype in ("float16", "bfloat16"):
            values[nearest(values, dtype) == 1.0] = 0.0
        return to_carrier(values, dtype)

    def exponential(self, count: int, dtype: str) -> np.ndarray:
        """[count] numbers of the exponential distribution with rate 1, drawn in float64 for every dtype."""
        return to_carrier(-np.log1p(-self.engine.uniform(count, "float64")), dtype)

    def randint(self, low: int, high: int, count: int) -> np.ndarray:
        """[count] int64 in [low, high)."""
        words = self.engine.uint32(count) if high - low < LONG_RANGE else self.engine.uint64(count)
        return (words % np.uint64(high - low)).view(np.int64) + np.int64(low)

    def randperm(self, count: int) -> np.ndarray:
        """The numbers 0 to count - 1 in random order, [count] int64: Fisher and Yates' shuffle from the front."""
        order = np.arange(count)
        if count < 2:
            return order
        steps = self.engine.uint32(count - 1) % np.arange(count, 1, -1, dtype=np.uint64)
        for here, step in enumerate(steps.tolist()):
            there = here + step
            order[here], order[there] = order[there], order[here]
        return order

    # -- state ---------------------------------------------------------------------------------------------------

    def get_state(self) -> bytes:
        """The 5056 bytes of `torch.Generator("cpu").get_state()`, little-endian."""
        words, used = self.engine.state
        left = WORDS + 1 - used  # torch counts the words that are left, and 1 means: make new ones first
        waiting = self.waiting_normal
        return _STATE.pack(
            *(self.seed, left, 1, 0 if self.engine.untouched else used, *words.tolist()),
            *(0.0, waiting or 0.0, 0.0, int(waiting is not None)),
            *(0.0, False),
        )

    def set_state(self, state: bytes) -> None:
        """Continue from `get_state()`'s bytes, ours or torch's."""
        if len(state) != _STATE.size:
            raise InputError(
                "This is not the state of a CPU generator.",
                where=f"{len(state)} bytes",
                expected=f"{_STATE.size} bytes, the layout of torch.Generator('cpu').get_state()",
            )
        seed, left, seeded, used, *rest = _STATE.unpack(state)
        words, (_, normal, _, waits, _, _) = rest[:WORDS], rest[WORDS:]
        fits = seeded == 1 and used <= WORDS and (left == 1 if used in (0, WORDS) else left + used == WORDS + 1)
        if not fits or max(words) >= 2**32:
            raise InputError("The bytes are no valid state of a CPU generator.", expected="what get_state() returned")
        self.seed = seed
        self.engine.state = np.array(words, dtype=np.uint32), WORDS if left == 1 else used
        self.engine.untouched = left == 1 and used == 0
        self.waiting_normal = normal if waits else None


def _box_muller(blocks: np.ndarray) -> None:
    """In place, [blocks, 2, 8] uniform -> normal: the first 8 of a block give radii, the last 8 angles.

    Written with copies of the halves: numpy is fast on long rows and slow on many rows of 8.
    """
    kind = blocks.dtype.type
    radius = kind(1.0) - np.ascontiguousarray(blocks[:, 0])  # [blocks, 8], in (0, 1]
    np.log(radius, out=radius)
    radius *= kind(-2.0)
    np.sqrt(radius, out=radius)
    angle = kind(2.0 * np.pi) * np.ascontiguousarray(blocks[:, 1])
    blocks[:, 0] = radius * np.cos(angle)
    blocks[:, 1] = radius * np.sin(angle)
