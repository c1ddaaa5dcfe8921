"""A Brownian path that gives the same increment whenever the same interval is asked for, whatever was asked before.

A tree of intervals, each split in half (Li et al. 2020, https://arxiv.org/abs/2001.01328, section 4). Every interval
has a seed of its own, from the path's seed and its place in the tree: the numbers are torchsde's halfway tree's.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.torch_random import TorchGenerator

_DIGITS = 6  # times are rounded to 1e-6, at which the halving ends
_POOL = 24
_KEPT = 64  # increments of intervals that are kept, of the size of a sample each


class _Interval:
    """[start, end] of the tree; `key` counts the intervals of its depth from the left."""

    def __init__(self, start: float, end: float, parent: _Interval | None = None, right: bool = False):
        self.start, self.end, self.parent, self.right = round(start, _DIGITS), round(end, _DIGITS), parent, right
        self.depth = parent.depth + 1 if parent else 0
        self.key = 2 * parent.key + right if parent else 0
        self.halves: tuple[_Interval, _Interval] | None = None

    def split_at(self, time: float) -> None:
        """Halve until there is an edge at `time`."""
        middle = round(0.5 * (self.end + self.start), _DIGITS)
        self.halves = (_Interval(self.start, middle, self), _Interval(middle, self.end, self, right=True))
        if time != middle:
            self.halves[time > middle].split_at(time)

    def cover(self, start: float, end: float) -> list[_Interval]:
        """Intervals of the tree that make up [start, end], from left to right."""
        if start == self.start and end == self.end:
            return [self]
        if self.halves is None:
            self.split_at(end if start == self.start else start)
        left, right = self.halves
        if end <= left.end:
            return left.cover(start, end)
        if start >= left.end:
            return right.cover(start, end)
        return left.cover(start, left.end) + right.cover(left.end, end)


class BrownianPath:
    """W on [t0, t1] for an array of `shape`; `path(a, b)` is W(b) - W(a) for a <= b, float32."""

    def __init__(self, shape: Sequence[int], t0: float, t1: float, seed: int):
        self.shape, self.seed = tuple(shape), seed
        self.root = _Interval(t0, t1)
        self._generator = TorchGenerator()  # seeded anew for every interval
        self.total = self._normal(np.random.SeedSequence(seed, pool_size=_POOL)) * np.float32(math.sqrt(t1 - t0))
        self._cache: OrderedDict[_Interval, np.ndarray] = OrderedDict()

    def __call__(self, a: float, b: float) -> np.ndarray:
        a, b = (round(min(max(t, self.root.start), self.root.end), _DIGITS) for t in (a, b))
        if a == b:
            return np.zeros(self.shape, dtype=np.float32)
        return sum(self._increment(interval) for interval in self.root.cover(a, b))

    def _normal(self, sequence: np.random.SeedSequence) -> np.ndarray:
        return self._generator.manual_seed(int(sequence.generate_state(1)[0])).randn(self.shape, "float32")

    def _increment(self, interval: _Interval) -> np.ndarray:
        """Of the two halves of an interval: normal around its share of the whole, and the rest (Brownian bridge)."""
        parent = interval.parent
        if parent is None:
            return self.total
        if interval in self._cache:
            self._cache.move_to_end(interval)
            return self._cache[interval]
        whole = self._increment(parent)
        middle = parent.halves[0].end
        before, after, length = middle - parent.start, parent.end - middle, parent.end - parent.start
        noise = self._normal(np.random.SeedSequence(self.seed, spawn_key=(parent.key, parent.depth), pool_size=_POOL))
        left = whole * np.float32(before / length) + noise * np.float32(math.sqrt(before * after / length))
        self._cache[parent.halves[0]], self._cache[parent.halves[1]] = left, whole - left
        while len(self._cache) > _KEPT:
            self._cache.popitem(last=False)
        return left if not interval.right else whole - left


class BrownianTreeNoiseSampler:
    """Standard normal noise for a step from sigma to sigma_next: the path's increment between them, scaled.

    Args:
        shape: of the sample, [B, C, ...].
        sigma_min, sigma_max: between which steps are taken.
        seed: of the path, or one for each image of the batch.
    """

    def __init__(self, shape: Sequence[int], sigma_min: float, sigma_max: float, seed: int | Sequence[int]):
        self.batched = not isinstance(seed, int | np.integer)
        if self.batched and len(seed) != shape[0]:
            raise InputError(f"{len(seed)} seeds were given for {shape[0]} images.", where="noise_sampler_seed")
        seeds, size = (seed, shape[1:]) if self.batched else ([seed], shape)
        self.paths = [BrownianPath(size, float(sigma_min), float(sigma_max), int(one)) for one in seeds]

    def __call__(self, sigma: float, sigma_next: float) -> paddle.Tensor:
        a, b = sorted((float(sigma), float(sigma_next)))
        scale = np.float32((-1 if sigma > sigma_next else 1) / math.sqrt(b - a))
        increments = [path(a, b) * scale for path in self.paths]
        return paddle.to_tensor(np.stack(increments) if self.batched else increments[0])
