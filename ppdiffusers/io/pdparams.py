"""Paddle's `.pdparams`: a pickle of {name: array}, read without unpickling and written one tensor at a time."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.files import replace_file
from ppdiffusers.core.tensors import NUMPY_CARRIER, LazyTensor
from ppdiffusers.io.pickle_machine import BadPickle, PickleMachine, Span, damaged_pickle, refuse_unsafe, shown
from ppdiffusers.io.safetensors_file import bytes_of, read_exactly

_NAME_TABLE = "StructuredToParameterName@@"
_SPLIT_TABLE = "UnpackBigParamInfor@@"  # how protocols 2 and 3 keep arrays above 1 GB: in parts
# numpy's letter and size -> ours. Paddle has no uint16: such arrays are the bits of bfloat16.
_DTYPES = {
    f"{carrier.kind}{carrier.itemsize}": name for name, carrier in NUMPY_CARRIER.items() if name not in ("bfloat16",)
} | {"u2": "bfloat16"}


class _Dtype:
    """`numpy.dtype("f4")`, and the byte order that a BUILD adds."""

    def __init__(self, letter: Any, *_: Any):
        if not isinstance(letter, str) or letter.lstrip("<|=>") not in _DTYPES:
            raise BadPickle(f"an array of dtype {shown(letter)}")
        self.name, self.swapped = _DTYPES[letter.lstrip("<|=>")], letter.startswith(">")

    def set_pickle_state(self, state: Any) -> None:
        self.swapped = self.swapped or state[1] == ">"


class _Bytes:
    """Bytes of an array: in memory, or a span of the file, plain or as a Latin-1 text (protocol 2)."""

    def __init__(self, content: Any, *encoding: Any):
        if isinstance(content, str):
            content = content.encode("latin1")
        if not isinstance(content, (bytes, Span)):
            raise BadPickle("an array whose data are not bytes")
        self.content = content


class _Array:
    """`numpy.ndarray` as pickled: made empty, then given (version, shape, dtype, is Fortran, data)."""

    def __init__(self, *_: Any):
        self.shape: tuple[int, ...] = (0,)
        self.dtype = _Dtype("f4")
        self.fortran = False
        self.data = _Bytes(b"")

    def set_pickle_state(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or len(shape) > 32:
            raise BadPickle("an array of an unknown kind")
        if any(type(side) is not int or not 0 <= side < 2**62 for side in shape):
            raise BadPickle(f"an array of shape {shown(shape)}")
        data = data if isinstance(data, _Bytes) else _Bytes(data)
        tensor = LazyTensor(dtype.name, tuple(shape), lambda: None)
        content, nbytes = data.content, 1
        for side in (*shape, NUMPY_CARRIER[dtype.name].itemsize):
            nbytes *= side
        length = content.length if isinstance(content, Span) else len(content)
        # A text takes one or two bytes per byte of data.
        is_text = isinstance(content, Span) and content.text
        if (length != nbytes and not is_text) or (is_text and not nbytes <= length <= 2 * nbytes):
            raise BadPickle(f"an array of shape {tuple(shape)} takes {nbytes} bytes, {length} are there")
        self.shape, self.dtype, self.fortran, self.data = tensor.shape, dtype, bool(fortran), data

    def lazy(self, path: Path) -> LazyTensor:
        return LazyTensor(self.dtype.name, self.shape, partial(self.read, path))

    def read(self, path: Path) -> np.ndarray:
        carrier = NUMPY_CARRIER[self.dtype.name]
        content = self.data.content
        if isinstance(content, Span):
            raw = read_exactly(path, content.offset, np.empty(content.length, np.uint8))
            if content.text:
                raw = np.frombuffer(_latin1(raw.tobytes(), path), np.uint8)
        else:
            raw = np.frombuffer(bytearray(content), np.uint8)
        stored = carrier.newbyteorder(">" if self.dtype.swapped else "<")
        if len(raw) % carrier.itemsize or len(raw) // carrier.itemsize != int(np.prod(self.shape, dtype=np.int64)):
            raise damaged_pickle(path, f"an array of shape {self.shape} has {len(raw)} bytes")
        array = raw.view(stored).reshape(self.shape, order="F" if self.fortran else "C")
        return np.ascontiguousarray(array, dtype=carrier).reshape(self.shape)


def _latin1(text: bytes, path: Path) -> bytes:
    try:
        return text.decode("utf-8", "surrogatepass").encode("latin1")
    except UnicodeError as error:
        raise damaged_pickle(path, error) from error


class _Scalar(_Array):
    """`numpy.core.multiarray.scalar(dtype, bytes)`: an array without axes."""

    def __init__(self, dtype: Any, data: Any):
        super().__init__()
        self.set_pickle_state((1, (), dtype, False, data))


_TABLE: Mapping[str, Callable[..., Any]] = {
    "collections OrderedDict": lambda items=(): dict(items),
    "_codecs encode": _Bytes,
    "numpy dtype": _Dtype,
    "numpy ndarray": _Array,
    **{f"{home} _reconstruct": _Array for home in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{f"{home} scalar": _Scalar for home in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{f"{home} tuple": lambda items=(): tuple(items) for home in ("builtins", "__builtin__")},
    **{f"{home} bytes": lambda content=b"": _Bytes(content) for home in ("builtins", "__builtin__")},
}


def read_pdparams(path: str | os.PathLike) -> dict[str, LazyTensor]:
    """Read names, dtypes and shapes of what `paddle.save` wrote; arrays are read when asked for.

    Raises:
        UnsafeFileError: the pickle names a global that no such file needs; nothing was run.
        WeightsError: the file is truncated, damaged, or holds something else than named tensors.
    """
    path = Path(path)
    with open(path, "rb") as file:
        machine = PickleMachine(file, path.stat().st_size, _TABLE)
        try:
            loaded = machine.load()
        except BadPickle as error:
            refuse_unsafe(machine, path)
            raise damaged_pickle(path, error) from error
    refuse_unsafe(machine, path)
    if not isinstance(loaded, dict):
        raise WeightsError("The file holds no dictionary of tensors.", where=path, expected="names and tensors")
    loaded.pop(_NAME_TABLE, None)
    splits = loaded.pop(_SPLIT_TABLE, {})
    tensors, problems = {}, []
    for name, value in loaded.items():
        # paddle.save keeps a tensor as (its variable's name, its array)
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            value = value[1]
        if isinstance(name, str) and isinstance(value, _Array):
            tensors[name] = value.lazy(path)
        elif isinstance(value, _Array) or not isinstance(value, (str, int, float, type(None))):
            problems.append(f"{name!s:.100}: {type(value).__name__}")
    if not isinstance(splits, dict):
        problems.append(f"{_SPLIT_TABLE}: {type(splits).__name__}")
    else:
        _join_parts(tensors, splits, problems)
    if problems:
        raise WeightsError("The file holds more than named tensors.", where=path, problems=problems)
    return tensors


def write_pdparams(path: str | os.PathLike, tensors: Mapping[str, LazyTensor]) -> None:
    """Write {name: array} so that `paddle.load` gives {name: Tensor}, bfloat16 included; one tensor is in memory at
    a time, and the file appears when it is complete."""
    with replace_file(path) as staging, open(staging, "wb") as file:
        file.write(b"\x80\x04}")  # protocol 4, an empty dictionary
        for name, tensor in tensors.items():
            _write_text(file, name)
            _write_array(file, bytes_of(name, tensor), tensor)
            file.write(b"s")  # dictionary[name] = array
        file.write(b".")


def _write_array(file: BinaryIO, data: memoryview, tensor: LazyTensor) -> None:
    # Opcodes by hand: a Pickler keeps a reference to everything it wrote, and numpy 2 writes module names that
    # numpy 1 cannot find.
    carrier = NUMPY_CARRIER[tensor.dtype]
    file.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR")  # an empty array
    file.write(b"(K\x01(")  # its state: version, shape, dtype, is Fortran, data
    for side in tensor.shape:
        file.write(b"\x8a\x08" + struct.pack("<q", side))
    file.write(b"tcnumpy\ndtype\n(")
    _write_text(file, f"{carrier.kind}{carrier.itemsize}")
    file.write(b"\x89\x88tR(K\x03")
    _write_text(file, "<" if carrier.itemsize > 1 else "|")
    file.write(b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
    file.write(b"\x89\x8e" + struct.pack("<Q", len(data)))
    file.write(data)
    file.write(b"tb")


def _write_text(file: BinaryIO, text: str) -> None:
    encoded = text.encode()
    file.write(b"X" + struct.pack("<I", len(encoded)) + encoded)


def _join_parts(tensors: dict[str, LazyTensor], splits: Mapping[str, Any], problems: list[str]) -> None:
    for name, split in splits.items():
        parts = split.get("slices") if isinstance(split, dict) else None
        shape = split.get("OriginShape") if isinstance(split, dict) else None
        if not isinstance(parts, list) or not isinstance(shape, tuple) or not all(part in tensors for part in parts):
            problems.append(f"{name}: a part of it is missing")
            continue
        pieces = [tensors.pop(part) for part in parts]
        if not pieces or len({piece.dtype for piece in pieces}) != 1:
            problems.append(f"{name}: its parts are of several dtypes")
            continue
        joined = LazyTensor(pieces[0].dtype, shape, partial(_read_parts, pieces, shape))
        if joined.size != sum(piece.size for piece in pieces):
            problems.append(f"{name}: its parts do not make up shape {shape}")
            continue
        tensors[name] = joined


def _read_parts(pieces: list[LazyTensor], shape: tuple[int, ...]) -> np.ndarray:
    return np.concatenate([piece.read().reshape(-1) for piece in pieces]).reshape(shape)
