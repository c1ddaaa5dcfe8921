"""A Brownian path whose increments do not depend on the order of the queries.

A binary tree of intervals (Li et al. 2020, https://arxiv.org/abs/2001.01328, section 4). The seed of an interval
follows from the seed of the path and from the place in the tree; the numbers are those of torchsde's halfway tree.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.torch_random import TorchGenerator

_DIGITS = 6  # times are rounded to 1e-6, which ends the recursion
_POOL = 24
_CACHE_SIZE = 64  # cached increments, each of the size of a sample


class _Interval:
    """An interval [start, end] of the tree; `key` counts the intervals of its depth from the left."""

    depth: int
    key: int

    def __init__(self, start: float, end: float, parent: _Interval | None = None, right: bool = False):
        self.start, self.end, self.parent, self.right = round(start, _DIGITS), round(end, _DIGITS), parent, right
        self.depth = parent.depth + 1 if parent else 0
        self.key = 2 * parent.key + right if parent else 0
        self.halves: tuple[_Interval, _Interval] | None = None

    def split_at(self, time: float) -> tuple[_Interval, _Interval]:
        """Halve the interval until `time` is an edge; return its halves."""
        middle = round(0.5 * (self.end + self.start), _DIGITS)
        self.halves = (_Interval(self.start, middle, self), _Interval(middle, self.end, self, right=True))
        if time != middle:
            self.halves[time > middle].split_at(time)
        return self.halves

    def cover(self, start: float, end: float) -> list[_Interval]:
        """Return the intervals of the tree that make up [start, end], from left to right."""
        if start == self.start and end == self.end:
            return [self]
        left, right = self.halves or self.split_at(end if start == self.start else start)
        if end <= left.end:
            return left.cover(start, end)
        if start >= left.end:
            return right.cover(start, end)
        return left.cover(start, left.end) + right.cover(left.end, end)


class BrownianPath:
    """A Brownian path W on [t0, t1] of arrays of `shape`; `path(a, b)` is W(b) - W(a) for a <= b, float32."""

    def __init__(self, shape: Sequence[int], t0: float, t1: float, seed: int):
        self.shape, self.seed = tuple(shape), seed
        self.root = _Interval(t0, t1)
        self._generator = TorchGenerator()  # seeded again for every interval
        self.total = self._normal(np.random.SeedSequence(seed, pool_size=_POOL)) * np.float32(math.sqrt(t1 - t0))
        self._cache: OrderedDict[_Interval, np.ndarray] = OrderedDict()

    def __call__(self, a: float, b: float) -> np.ndarray:
        a, b = (round(min(max(t, self.root.start), self.root.end), _DIGITS) for t in (a, b))
        total = np.zeros(self.shape, dtype=np.float32)
        if a == b:
            return total
        for interval in self.root.cover(a, b):
            total = total + self._increment(interval)
        return total

    def _normal(self, sequence: np.random.SeedSequence) -> np.ndarray:
        return self._generator.manual_seed(int(sequence.generate_state(1)[0])).randn(self.shape, "float32")

    def _increment(self, interval: _Interval) -> np.ndarray:
        """Sample the increment of an interval given its parent's (Brownian bridge)."""
        parent = interval.parent
        if parent is None:
            return self.total
        if interval in self._cache:
            self._cache.move_to_end(interval)
            return self._cache[interval]
        assert parent.halves is not None
        left_half, right_half = parent.halves
        whole = self._increment(parent)
        middle = left_half.end
        before, after, length = middle - parent.start, parent.end - middle, parent.end - parent.start
        noise = self._normal(np.random.SeedSequence(self.seed, spawn_key=(parent.key, parent.depth), pool_size=_POOL))
        left = whole * np.float32(before / length) + noise * np.float32(math.sqrt(before * after / length))
        self._cache[left_half], self._cache[right_half] = left, whole - left
        while len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)
        return left if not interval.right else whole - left


class BrownianTreeNoiseSampler:
    """Standard normal noise for a step from sigma to sigma_next: the scaled increment of a Brownian path.

    Args:
        shape: shape of the sample, [B, C, ...].
        sigma_min, sigma_max: the range of sigmas.
        seed: seed of the path, or one seed per sample of the batch.
    """

    def __init__(self, shape: Sequence[int], sigma_min: float, sigma_max: float, seed: int | Sequence[int]):
        self.batched = not isinstance(seed, int | np.integer)
        seeds = [seed] if isinstance(seed, int | np.integer) else list(seed)
        if self.batched and len(seeds) != shape[0]:
            raise InputError(f"Got {len(seeds)} seeds for a batch of {shape[0]} samples.", where="noise_sampler_seed")
        size = shape[1:] if self.batched else shape
        self.paths = [BrownianPath(size, float(sigma_min), float(sigma_max), int(one)) for one in seeds]

    def __call__(self, sigma: float, sigma_next: float) -> paddle.Tensor:
        a, b = sorted((float(sigma), float(sigma_next)))
        scale = np.float32((-1 if sigma > sigma_next else 1) / math.sqrt(b - a))
        increments = [path(a, b) * scale for path in self.paths]
        return paddle.to_tensor(np.stack(increments) if self.batched else increments[0])
