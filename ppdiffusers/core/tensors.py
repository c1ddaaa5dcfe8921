"""Tensors that stay in a file or in memory until their values are requested."""

from __future__ import annotations

import functools
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
# Eight-bit floating dtypes, which are cast exactly when they are loaded.
FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
# The same for all dtypes that a file may have. Those in addition are not computed with, and, except for `FLOAT8`, not
# loaded either; but files with such tensors in places that are not needed can be read.
FILE_DTYPES: dict[str, np.dtype] = {
    **STORAGE_DTYPES,
    **dict.fromkeys(FLOAT8, np.dtype("uint8")),
    **{name: np.dtype(name) for name in ("uint16", "uint32", "uint64", "complex64", "complex128")},
    **dict.fromkeys(("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2"), np.dtype("V1")),
    **dict.fromkeys(("float4_e2m1", "float6_e2m3", "float6_e3m2"), np.dtype("V1")),  # packed in files
    **dict.fromkeys(
        ("qint8", "quint8", "quint4x2", "quint2x4", "bits8", "bits1x8", "bits2x4", "bits4x2"), np.dtype("V1")
    ),
    **{f"{sign}int{bits}": np.dtype("V1") for sign in ("", "u") for bits in range(1, 8)},
    **{"bits16": np.dtype("V2"), "complex32": np.dtype("V4"), "qint32": np.dtype("V4")},
}
_MAX_AXES = 32  # numpy 1's limit
MOST_TENSORS = 100_000  # in a file; checkpoints of training have up to 20,000


@dataclass(frozen=True)
class LazyTensor:
    """One named array of a checkpoint whose values have not been read yet.

    Attributes:
        dtype: a key of `FILE_DTYPES`; "bfloat16" is read as uint16 bits.
        shape: as stored; a scalar is `()`.
        read: returns the numpy array of `shape` and `FILE_DTYPES[dtype]`; reads only this tensor.
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
        return self.size * FILE_DTYPES[self.dtype].itemsize

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
        if dtype == self.dtype or self.dtype not in (*FLOATING, *FLOAT8):
            return self
        return LazyTensor(dtype, self.shape, lambda: cast_floating(self.read(), self.dtype, dtype))


def is_loadable(dtype: str, floating: bool) -> bool:
    """Return whether a tensor of this dtype in a file can become a floating parameter, or an integer or bool one."""
    return (dtype in STORAGE_DTYPES or dtype in FLOAT8) and (dtype in (*FLOATING, *FLOAT8)) == floating


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
    wide = array
    if source == "bfloat16":
        wide = bfloat16_to_float32(array)
    elif source in FLOAT8:
        wide = _float8_values(source)[array]
    if target == "bfloat16":
        return float32_to_bfloat16(wide.astype(np.float32))
    with np.errstate(over="ignore", invalid="ignore"):  # float32 -> float16 overflows to inf, as in every framework
        return wide.astype(STORAGE_DTYPES[target])


@functools.cache
def _float8_values(dtype: str) -> np.ndarray:
    """Return the float32 values of the 256 bytes of an eight-bit dtype."""
    bits = np.arange(256, dtype=np.uint16)
    if dtype == "float8_e5m2":  # the upper byte of a float16
        return (bits << 8).view(np.float16).astype(np.float32)
    exponent, mantissa = (bits >> 3 & 15).astype(np.float32), (bits & 7).astype(np.float32)
    # e4m3fn: bias 7, subnormal at exponent 0, no infinities, NaN where all seven bits are set
    value = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    value = np.where(bits & 127 == 127, np.nan, value)
    return np.where(bits & 128, -value, value).astype(np.float32)


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
