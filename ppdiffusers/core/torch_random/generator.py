"""`TorchGenerator`: the random numbers of `torch.Generator`, without torch."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Sequence

import numpy as np

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.torch_random.cpu import CPUStream
from ppdiffusers.core.torch_random.shapes import as_shape

DEFAULT_SEED = 67280421310721  # torch's own, of a generator that was never seeded
DTYPES = ("float32", "float64", "float16", "bfloat16")


class TorchGenerator:
    """Draws the numbers that `torch.Generator(device).manual_seed(seed)` draws."""

    def __init__(self, seed: int | None = None, device: str = "cpu"):
        self.device = device
        self.manual_seed(DEFAULT_SEED if seed is None else seed)

    def manual_seed(self, seed: int) -> TorchGenerator:
        """Start the stream of `seed` (-2**63 to 2**64 - 1; torch counts negative ones from 2**64); returns self."""
        value = operator.index(seed)
        if not -(2**63) <= value < 2**64:
            raise InputError("A seed has 64 bits.", where=f"seed={seed}", expected="-2**63 <= seed < 2**64")
        self._seed = value % 2**64
        self._stream = CPUStream(self._seed)
        return self

    def initial_seed(self) -> int:
        """The seed the stream started from, as torch reports it (0 to 2**64 - 1)."""
        return self._seed

    def seed(self) -> int:
        """Seed from the operating system's randomness; returns the seed."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def randn(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """Standard normal numbers of `shape` in the numpy carrier of `dtype` (bfloat16 as uint16 bits)."""
        shape = as_shape(shape)
        return self._stream.randn(math.prod(shape), _checked(dtype)).reshape(shape)

    def rand(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """Numbers in [0, 1) of `shape` in the numpy carrier of `dtype` (bfloat16 as uint16 bits)."""
        shape = as_shape(shape)
        return self._stream.rand(math.prod(shape), _checked(dtype)).reshape(shape)


def _checked(dtype: str) -> str:
    if dtype not in DTYPES:
        raise InputError("Random numbers have a floating dtype.", where=f"dtype={dtype!r}", expected=", ".join(DTYPES))
    return dtype
