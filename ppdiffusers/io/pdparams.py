"""Paddle's `.pdparams`: a pickle of {name: array}, read lazily and written one tensor at a time."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

import numpy as np

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.files import replace_file
from ppdiffusers.core.tensors import FILE_DTYPES, FLOAT8, MOST_TENSORS, LazyTensor, is_valid_shape
from ppdiffusers.io.checked_file import CheckedFile
from ppdiffusers.io.pickle_reader import DICT, BadPickle, Span, damaged_pickle, load_pickle, shown
from ppdiffusers.io.safetensors_file import tensor_bytes

_NAME_TABLE = "StructuredToParameterName@@"
_SPLIT_TABLE = "UnpackBigParamInfor@@"  # how protocols 2 and 3 store arrays above 1 GB: in parts
# numpy's letter and size -> our dtype. Paddle has no uint16: such arrays are the bits of bfloat16.
_NUMPY_NAMES = (name for name in FILE_DTYPES if name in np.sctypeDict and name != "uint16")
_DTYPES = {f"{FILE_DTYPES[name].kind}{FILE_DTYPES[name].itemsize}": name for name in _NUMPY_NAMES} | {"u2": "bfloat16"}


class _Dtype:
    """`numpy.dtype("f4")`, and the byte order in its state."""

    def __init__(self, letter: object, *_: object):
        if not isinstance(letter, str) or letter.lstrip("<|=>") not in _DTYPES:
            raise BadPickle(f"an array of dtype {shown(letter)}")
        self.name, self.big_endian = _DTYPES[letter.lstrip("<|=>")], letter.startswith(">")

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2:
            raise BadPickle("a dtype without a byte order")
        self.big_endian = self.big_endian or state[1] == ">"


class _Bytes:
    """Bytes of an array: in memory, or a span of the file; both plain or as Latin-1 text (protocol 2)."""

    def __init__(self, content: object = b"", *encoding: object):
        if not isinstance(content, (str, bytes, Span)):
            raise BadPickle("an array whose data are not bytes")
        self.content = content

    def __setstate__(self, state: object) -> None:
        raise BadPickle("a state for bytes")

    def can_hold(self, nbytes: int) -> bool:
        """Return whether these may be `nbytes` bytes: UTF-8 text has one or two bytes for each of them."""
        if isinstance(self.content, Span):
            return nbytes <= self.content.length <= (2 if self.content.is_text else 1) * nbytes
        return len(self.content) == nbytes

    def read(self, file: CheckedFile) -> np.ndarray:
        """Return the bytes as an array of uint8."""
        content = self.content
        try:
            if isinstance(content, Span):
                raw = file.read(content.offset, content.length)
                if not content.is_text:
                    return raw
                content = raw.tobytes().decode("utf-8", "surrogatepass")
            if isinstance(content, str):
                content = content.encode("latin1")
        except UnicodeError as error:
            raise damaged_pickle(file.path, error) from error
        return np.frombuffer(bytearray(content), np.uint8)


class _Array:
    """`numpy.ndarray` as pickled: made empty, then given (version, shape, dtype, is Fortran, data)."""

    def __init__(self, *_: object):
        self.shape: tuple[int, ...] = (0,)
        self.dtype, self.fortran, self.data = _Dtype("f4"), False, _Bytes()

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise BadPickle("an array with an unknown state")
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype):
            raise BadPickle("an array of an unknown dtype")
        if not is_valid_shape(shape):
            raise BadPickle(f"an array of shape {shown(shape)}")
        data = data if isinstance(data, _Bytes) else _Bytes(data)
        nbytes = math.prod(shape) * FILE_DTYPES[dtype.name].itemsize
        if not data.can_hold(nbytes):
            raise BadPickle(f"an array of shape {tuple(shape)} needs {nbytes} bytes, the file has another number")
        self.shape, self.dtype, self.fortran, self.data = tuple(shape), dtype, bool(fortran), data

    def lazy(self, file: CheckedFile) -> LazyTensor:
        """Return the array, to be read later."""
        return LazyTensor(self.dtype.name, self.shape, partial(self._read, file))

    def _read(self, file: CheckedFile) -> np.ndarray:
        storage = FILE_DTYPES[self.dtype.name]
        raw = self.data.read(file)
        if len(raw) != math.prod(self.shape) * storage.itemsize:
            raise damaged_pickle(file.path, f"an array of shape {self.shape} has {len(raw)} bytes")
        stored = raw.view(storage.newbyteorder(">" if self.dtype.big_endian else "<"))
        array = stored.reshape(self.shape, order="F" if self.fortran else "C")
        return np.ascontiguousarray(array, dtype=storage).reshape(self.shape)


class _Scalar(_Array):
    """`numpy.core.multiarray.scalar(dtype, bytes)`: an array without axes."""

    def __init__(self, dtype: object, data: object):
        super().__init__()
        self.__setstate__((1, (), dtype, False, data))


_TABLE: Mapping[str, Any] = {
    "collections OrderedDict": DICT,
    "_codecs encode": _Bytes,
    "numpy dtype": _Dtype,
    "numpy ndarray": _Array,
    **{f"{module} _reconstruct": _Array for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{f"{module} scalar": _Scalar for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{f"{module} tuple": lambda items=(), *_: items for module in ("builtins", "__builtin__")},
    **{f"{module} bytes": _Bytes for module in ("builtins", "__builtin__")},
}


def read_pdparams(path: str | os.PathLike) -> dict[str, LazyTensor]:
    """Read names, dtypes and shapes from a file of `paddle.save`; arrays are read when they are requested.

    Raises:
        UnsafeFileError: the pickle names a global that no such file needs; nothing was run.
        WeightsError: the file is truncated, damaged, or contains something else than named tensors.
    """
    file = CheckedFile(path)
    try:
        with open(file.path, "rb") as stream:
            loaded = load_pickle(stream, file.path, _TABLE)
    except BadPickle as error:
        raise damaged_pickle(file.path, error) from error
    if not isinstance(loaded, dict):
        raise WeightsError(
            "The file does not contain a dictionary of tensors.", where=path, expected="names and tensors"
        )
    if len(loaded) > MOST_TENSORS:
        raise damaged_pickle(file.path, f"it has {len(loaded)} tensors, expected at most {MOST_TENSORS}")
    loaded.pop(_NAME_TABLE, None)
    splits = loaded.pop(_SPLIT_TABLE, {})
    tensors, problems = {}, []
    for name, value in loaded.items():
        # paddle.save writes a tensor as (its variable's name, its array)
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            value = value[1]
        if isinstance(name, str) and isinstance(value, _Array):
            tensors[name] = value.lazy(file)
        elif isinstance(value, _Array) or not isinstance(value, (str, int, float, type(None))):
            problems.append(f"{shown(name)}: {type(value).__name__.lstrip('_')}")
    if isinstance(splits, dict):
        _join_parts(tensors, splits, problems)
    else:
        problems.append(f"{_SPLIT_TABLE}: {type(splits).__name__}")
    if problems:
        raise WeightsError("The file contains more than named tensors.", where=path, problems=problems)
    return tensors


def write_pdparams(path: str | os.PathLike, tensors: Mapping[str, LazyTensor]) -> None:
    """Write {name: array} so that `paddle.load` returns {name: Tensor}, bfloat16 included.

    At most one tensor is in memory at a time. The file appears when it is complete.
    """
    with replace_file(path) as staging, open(staging, "wb") as file:
        file.write(b"\x80\x04}")  # protocol 4, an empty dictionary
        for name, tensor in tensors.items():
            tensor = tensor.astype("float16") if tensor.dtype in FLOAT8 else tensor  # numpy has no such dtype; exact
            _write_text(file, name)
            _write_array(file, tensor_bytes(name, tensor), tensor)
            file.write(b"s")  # dictionary[name] = array
        file.write(b".")


def _write_array(file: BinaryIO, data: memoryview, tensor: LazyTensor) -> None:
    # Not with a Pickler: it keeps a reference to everything that it wrote, and numpy 2 writes module names that numpy 1
    # cannot import.
    storage = FILE_DTYPES[tensor.dtype]
    file.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR")  # an empty array
    file.write(b"(K\x01(")  # its state: version, shape, dtype, is Fortran, data
    for size in tensor.shape:
        file.write(b"\x8a\x08" + struct.pack("<q", size))
    file.write(b"tcnumpy\ndtype\n(")
    _write_text(file, f"{storage.kind}{storage.itemsize}")
    file.write(b"\x89\x88tR(K\x03")
    _write_text(file, "<" if storage.itemsize > 1 else "|")
    file.write(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
    file.write(b"\x89\x8e" + struct.pack("<Q", len(data)))
    file.write(data)
    file.write(b"tb")


def _write_text(file: BinaryIO, text: str) -> None:
    encoded = text.encode()
    file.write(b"X" + struct.pack("<I", len(encoded)) + encoded)


def _join_parts(tensors: dict[str, LazyTensor], splits: Mapping[str, Any], problems: list[str]) -> None:
    left = len(tensors)  # each of them is a part of at most one tensor
    for name, split in splits.items():
        entry = split if isinstance(split, dict) else {}
        parts, shape = entry.get("slices"), entry.get("OriginShape")
        if not isinstance(parts, list) or len(parts) > left:
            parts = []
        left -= len(parts)
        names = [part for part in parts if isinstance(part, str) and part in tensors]
        complete = names == parts and len(set(names)) == len(names)
        if (
            not isinstance(name, str)
            or name in tensors
            or not complete
            or not isinstance(shape, tuple)
            or not is_valid_shape(shape)
        ):
            problems.append(f"{shown(name)}: its parts or its shape are missing or wrong")
            continue
        pieces = [tensors.pop(part) for part in names]
        if not pieces or len({piece.dtype for piece in pieces}) != 1:
            problems.append(f"{shown(name)}: its parts have different dtypes")
            continue
        joined = LazyTensor(pieces[0].dtype, tuple(shape), partial(_read_parts, pieces, tuple(shape)))
        if joined.size != sum(piece.size for piece in pieces):
            problems.append(f"{shown(name)}: its parts do not add up to shape {shape}")
            continue
        tensors[name] = joined


def _read_parts(pieces: list[LazyTensor], shape: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([piece.read().reshape(-1) for piece in pieces]).reshape(shape)
