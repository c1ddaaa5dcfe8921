"""Tensors that stay in a file or in memory until their values are requested."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

# The numpy dtype that stores the bits of each dtype. numpy has no bfloat16: its bits are stored as uint16.
STORAGE_DTYPES: dict[str, np.dtype] = {
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
_MAX_AXES = 32  # numpy 1's limit
MOST_TENSORS = 100_000  # in a file; checkpoints of training have up to 20,000


@dataclass(frozen=True)
class LazyTensor:
    """One named array of a checkpoint whose values have not been read yet.

    Attributes:
        dtype: a key of `STORAGE_DTYPES`; "bfloat16" is read as uint16 bits.
        shape: as stored; a scalar is `()`.
        read: returns the numpy array of `shape` and `STORAGE_DTYPES[dtype]`; reads only this tensor.
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Number of bytes in a file."""
        return self.size * STORAGE_DTYPES[self.dtype].itemsize

    @classmethod
    def of(cls, array: np.ndarray, dtype: str | None = None) -> LazyTensor:
        """Wrap an array in memory; pass `dtype="bfloat16"` for uint16 arrays of bfloat16 bits."""
        return cls(dtype or str(array.dtype), tuple(array.shape), lambda: array)

    def transposed(self) -> LazyTensor:
        """Swap the two axes of a matrix; the array is contiguous when it is read."""
        rows, columns = self.shape
        return LazyTensor(self.dtype, (columns, rows), lambda: np.ascontiguousarray(self.read().T))

    def reshaped(self, shape: tuple[int, ...]) -> LazyTensor:
        """Give the same values, in the same order, another shape with the same number of elements."""
        return LazyTensor(self.dtype, tuple(shape), lambda: self.read().reshape(shape))

    def astype(self, dtype: str) -> LazyTensor:
        """Cast to another floating dtype; integers and booleans are unchanged."""
        if dtype == self.dtype or self.dtype not in FLOATING:
            return self
        return LazyTensor(dtype, self.shape, lambda: cast_floating(self.read(), self.dtype, dtype))


def are_sizes(values: object) -> TypeGuard[Sequence[int]]:
    """Return whether this is a list or tuple of at most 32 sizes, as the shape or the strides of an array are."""
    if not isinstance(values, (list, tuple)) or len(values) > _MAX_AXES:
        return False
    return all(type(size) is int and 0 <= size < 2**62 for size in values)


def is_valid_shape(shape: object) -> TypeGuard[Sequence[int]]:
    """Return whether numpy can make an array of this shape; it counts sizes of 0 as 1."""
    return are_sizes(shape) and math.prod(max(size, 1) for size in shape) < 2**59


def cast_floating(array: np.ndarray, source: str, target: str) -> np.ndarray:
    """Cast between floating dtypes, bfloat16 bits included, rounding to nearest even."""
    wide = bfloat16_to_float32(array) if source == "bfloat16" else array
    if target == "bfloat16":
        return float32_to_bfloat16(wide.astype(np.float32))
    with np.errstate(over="ignore"):  # float32 -> float16 overflows to inf, as in every framework
        return wide.astype(STORAGE_DTYPES[target])


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Widen bfloat16 bits, the upper half of a float32, exactly."""
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
