"""A tensor that lies in a file or in memory and is read when somebody asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# How the bits of each dtype are held in numpy. bfloat16 has no numpy type: its bits travel as uint16.
NUMPY_CARRIER: dict[str, np.dtype] = {
    "bool": np.dtype("bool"),
    "uint8": np.dtype("uint8"),
    "int8": np.dtype("int8"),
    "int16": np.dtype("int16"),
    "int32": np.dtype("int32"),
    "int64": np.dtype("int64"),
    "float16": np.dtype("float16"),
    "bfloat16": np.dtype("uint16"),
    "float32": np.dtype("float32"),
    "float64": np.dtype("float64"),
}
FLOATING = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class LazyTensor:
    """One named array of a checkpoint, not yet read.

    Attributes:
        dtype: a key of `NUMPY_CARRIER`; "bfloat16" is read as uint16 bits.
        shape: as stored; a scalar is `()`.
        read: gives the numpy array of `shape` and `NUMPY_CARRIER[dtype]`, reading only this tensor.
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes it takes in a file."""
        return self.size * NUMPY_CARRIER[self.dtype].itemsize

    @classmethod
    def of(cls, array: np.ndarray, dtype: str | None = None) -> LazyTensor:
        """Wrap an array that is in memory; give `dtype="bfloat16"` for uint16 arrays that hold such bits."""
        return cls(dtype or str(array.dtype), tuple(array.shape), lambda: array)

    def transposed(self) -> LazyTensor:
        """The same matrix with its two axes swapped, contiguous when it is read."""
        rows, columns = self.shape
        return LazyTensor(self.dtype, (columns, rows), lambda: np.ascontiguousarray(self.read().T))

    def reshaped(self, shape: tuple[int, ...]) -> LazyTensor:
        """The same values in their order under another shape of as many elements."""
        return LazyTensor(self.dtype, tuple(shape), lambda: self.read().reshape(shape))

    def astype(self, dtype: str) -> LazyTensor:
        """The same values in another floating dtype; integers and booleans are left as they are."""
        if dtype == self.dtype or self.dtype not in FLOATING:
            return self
        return LazyTensor(dtype, self.shape, lambda: cast_floating(self.read(), self.dtype, dtype))


def cast_floating(array: np.ndarray, source: str, target: str) -> np.ndarray:
    """Cast between floating dtypes, bfloat16 bits included, rounding to nearest even."""
    wide = bfloat16_to_float32(array) if source == "bfloat16" else array
    if target == "bfloat16":
        return float32_to_bfloat16(wide.astype(np.float32))
    with np.errstate(over="ignore"):  # float32 -> float16 overflows to inf, as every framework does
        return wide.astype(NUMPY_CARRIER[target])


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """bfloat16 is the upper half of a float32: exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(bits.shape)


def float32_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Round to the nearest bfloat16, ties to even; every NaN becomes the quiet NaN 0x7fc0."""
    shape = values.shape
    bits = np.ascontiguousarray(values, dtype=np.float32).reshape(-1).view(np.uint32)
    rounding = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    with np.errstate(over="ignore"):
        rounded = ((bits + rounding) >> np.uint32(16)).astype(np.uint16)
    rounded[np.isnan(values.reshape(-1))] = 0x7FC0
    return rounded.reshape(shape)
