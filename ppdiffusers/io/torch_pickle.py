"""PyTorch's `.bin`, `.pt` and `.ckpt` files, read without torch: zip archives and the older plain pickles."""

from __future__ import annotations

import io
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.tensors import FILE_DTYPES, MOST_TENSORS, LazyTensor, are_sizes, is_valid_shape
from ppdiffusers.io.checked_file import CheckedFile
from ppdiffusers.io.pickle_reader import (
    DICT,
    BadPickle,
    Inert,
    PickledDict,
    damaged_pickle,
    load_pickle,
    shown,
)

_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a plain (non-zip) file
_LARGEST_PICKLE = 256 << 20  # bytes of a zip archive's data.pkl, which holds no tensor data
_LARGEST_EXPANSION = 2**20  # elements that an expanded view may have in addition to those of its storage
_LARGEST_DIRECTORY = 32 << 20  # bytes of the names and positions of a zip archive's entries
_LARGEST_INFLATION = 20  # bytes that reading all tensors may inflate, for each byte of the file
_FREE_INFLATION = 256 << 20  # bytes that any file may inflate
_LONGEST_END = 22 + 65535 + 76  # bytes of the end of a zip archive: a record, a comment, and a longer record
_CHUNK = 1 << 20  # bytes
_MOST_SMALL_OPCODES = 1000  # of the pickles of a plain file that have no tensors
_LONGEST_NAME = 512  # characters of a name that is made of keys and positions

# PyTorch's name of a storage class -> our dtype
_STORAGES = {
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "UntypedStorage": "uint8",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
}
_TORCH_DTYPES = {
    **{name: name for name in FILE_DTYPES},
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
    "cfloat": "complex64",
    "cdouble": "complex128",
}


class _Dtype:
    """A dtype named by a pickle: `torch.float16` or `torch.HalfStorage`."""

    def __init__(self, name: str):
        self.name = name

    def __setstate__(self, state: object) -> None:
        raise BadPickle("a state for a dtype")


@dataclass
class _Storage:
    """A run of elements in the file; tensors are views of it."""

    dtype: str
    count: int
    key: str
    start: int = 0  # first element, for the views of plain files
    source: Callable[[int, int], np.ndarray] | None = None  # (first byte, number of bytes) -> bytes
    inflated: int = 0  # bytes that are decompressed for each read

    @property
    def item_size(self) -> int:
        return FILE_DTYPES[self.dtype].itemsize

    def read(self, first: int, count: int) -> np.ndarray:
        """Read `count` bytes from the byte `first`."""
        if self.source is None:
            raise BadPickle(f"storage {shown(self.key)} has no data")
        return self.source(first, count)

    def __setstate__(self, state: object) -> None:
        raise BadPickle("a state for a storage")


class _View:
    """A tensor of the pickle: a strided view of a storage."""

    def __init__(
        self, storage: object, offset: object, shape: object, stride: object, *_: object, dtype: object = None
    ):
        if not isinstance(storage, _Storage) or not (dtype is None or isinstance(dtype, _Dtype)):
            raise BadPickle(f"a tensor of type {shown(dtype)} in the storage {shown(storage)}")
        valid = is_valid_shape(shape) and are_sizes(stride) and len(shape) == len(stride)
        if not valid or type(offset) is not int or not 0 <= offset < 2**62:
            raise BadPickle(f"a tensor at {shown(offset)} of shape {shown(shape)} with strides {shown(stride)}")
        self.storage, self.offset, self.shape, self.stride = storage, offset, tuple(shape), tuple(stride)
        self.dtype = storage.dtype if dtype is None else dtype.name

    def __setstate__(self, state: object) -> None:
        """Ignore a tensor's Python attributes."""

    @property
    def span(self) -> int:
        """Elements of the storage from the view's first to its last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))

    def problem(self) -> str | None:
        """Describe why the view does not fit its storage; None when it fits."""
        if self.dtype != self.storage.dtype and self.storage.item_size != 1:
            return f"is {self.dtype} in a storage of {self.storage.dtype}"
        width = FILE_DTYPES[self.dtype].itemsize // self.storage.item_size
        if (self.offset + self.span) * width > self.storage.count:
            return f"needs {(self.offset + self.span) * width} elements, its storage has {self.storage.count}"
        if math.prod(self.shape) > self.span + _LARGEST_EXPANSION:
            return f"is {self.span} values expanded to {math.prod(self.shape)}"
        return None

    def lazy(self, big_endian: bool) -> LazyTensor:
        """Return the tensor, to be read later."""
        return LazyTensor(self.dtype, self.shape, partial(self._read, big_endian))

    def _read(self, big_endian: bool) -> np.ndarray:
        target = FILE_DTYPES[self.dtype]
        if self.span == 0:
            return np.empty(self.shape, target)
        width = target.itemsize
        first = self.storage.start * self.storage.item_size + self.offset * width
        raw = self.storage.read(first, self.span * width)
        flat = np.frombuffer(raw, target.newbyteorder(">" if big_endian else "<"))
        strides = tuple(step * width for step in self.stride)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, strides)
        return np.ascontiguousarray(view, dtype=target).reshape(self.shape)


def read_torch_file(path: str | os.PathLike, nested: bool = False) -> dict[str, LazyTensor]:
    """Read the names, dtypes and shapes of a PyTorch checkpoint; tensors are read when they are requested.

    A training checkpoint with a `state_dict` (Lightning) returns the tensors of that one. With `nested`, every file
    returns all its tensors, named by the keys and positions that lead to them: "ema.shadow_params.0".

    Raises:
        UnsafeFileError: the pickle names a global that is not on the list of harmless ones; nothing was run.
        WeightsError: the file is truncated, damaged, or not a checkpoint.
    """
    file = CheckedFile(path)
    try:
        loaded, big_endian = _load(file)
        views = _all_views(loaded) if nested else _views_of(loaded, file.path)
    except BadPickle as error:
        raise damaged_pickle(file.path, error) from error
    if len(views) > MOST_TENSORS:
        raise damaged_pickle(file.path, f"it has {len(views)} tensors, expected at most {MOST_TENSORS}")
    inflated = sum(view.storage.inflated for view in views.values())
    if inflated > _FREE_INFLATION + _LARGEST_INFLATION * file.size:
        raise damaged_pickle(file.path, f"reading its tensors would inflate {file.size} bytes to {inflated}")
    problems = [f"{name} {problem}" for name, view in views.items() if (problem := view.problem())]
    if problems:
        raise WeightsError("Tensors do not fit the data of the file: it is damaged.", where=path, problems=problems)
    return {name: view.lazy(big_endian) for name, view in views.items()}


def read_torch_strings(path: str | os.PathLike) -> dict[str, str]:
    """Read the strings among the values of the dictionary in a PyTorch file, such as the name of an embedding.

    Raises:
        UnsafeFileError, WeightsError: as `read_torch_file`.
    """
    file = CheckedFile(path)
    try:
        loaded, _ = _load(file)
    except BadPickle as error:
        raise damaged_pickle(file.path, error) from error
    items = loaded.items() if isinstance(loaded, Mapping) else ()
    return {key: value for key, value in items if isinstance(key, str) and isinstance(value, str)}


def _load(file: CheckedFile) -> tuple[object, bool]:
    """Return the unpickled object, and whether numbers are big-endian."""
    is_zip = file.read(0, min(2, file.size)).tobytes() == b"PK"
    return _read_zip(file) if is_zip else (_read_plain(file), False)


# -- zip archives -----------------------------------------------------------------------------------------------

# What zipfile raises for damaged archives. UnicodeDecodeError is a ValueError.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


def _read_zip(file: CheckedFile) -> tuple[object, bool]:
    """Return the unpickled object, and whether numbers are big-endian."""
    if (size := _directory_size(file)) > _LARGEST_DIRECTORY:
        raise BadPickle(f"the list of its entries has {size} bytes")
    try:
        with zipfile.ZipFile(file.path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(pickles) != 1 or len(entries) < len(archive.infolist()):
                raise BadPickle(f"the archive has {len(pickles)} entries named data.pkl, or several of one name")
            prefix = pickles[0].removesuffix("data.pkl")
    except _ZIP_ERRORS as error:
        raise BadPickle(error) from error
    if entries[pickles[0]].file_size > _LARGEST_PICKLE:
        raise BadPickle(f"its data.pkl is declared with {entries[pickles[0]].file_size} bytes")
    pickled = _Entry(file, entries[pickles[0]]).read_all()
    order = entries.get(prefix + "byteorder")
    big_endian = order is not None and order.file_size < 100 and _Entry(file, order).read_all().strip() == b"big"
    storages: dict[str, _Storage] = {}

    def persistent(identifier: object) -> _Storage:
        dtype, key, count, _ = _parse_storage(identifier)
        if (identity := f"{key}:{dtype}") not in storages:
            info = entries.get(f"{prefix}data/{key}")
            size = count * FILE_DTYPES[dtype].itemsize
            if info is None or info.file_size < size:
                raise BadPickle(f"storage {shown(key)} of {size} bytes is not in the archive")
            entry = _Entry(file, info)
            inflated = 0 if entry.is_stored else info.file_size
            storages[identity] = _Storage(dtype, count, key, source=entry.read, inflated=inflated)
        return storages[identity]

    return load_pickle(io.BytesIO(pickled), file.path, _TABLE, persistent), big_endian


def _directory_size(file: CheckedFile) -> int:
    """Return the bytes of the archive's list of entries, as its end says; 0 if there is no such end."""
    start = max(0, file.size - _LONGEST_END)
    tail = file.read(start, file.size - start).tobytes()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 22 > len(tail):
        return 0
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    wide = tail.rfind(b"PK\x06\x06", 0, at)  # the end of archives above 4 GB, which PyTorch always writes
    return max(size, int.from_bytes(tail[wide + 40 : wide + 48], "little") if 0 <= wide == at - 76 else 0)


class _Entry:
    """An entry of the archive. PyTorch does not compress entries: one seek and one read for each tensor."""

    def __init__(self, file: CheckedFile, info: zipfile.ZipInfo):
        self._file, self._info = file, info
        self.is_stored = info.compress_type == zipfile.ZIP_STORED
        self._is_checked = info.CRC == 0  # `torch.serialization.set_crc32_options(False)` writes no checksums
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadPickle(f"{info.filename} is compressed with another method than deflate")

    def read_all(self) -> bytes:
        """Read the whole entry."""
        return self.read(0, self._info.file_size).tobytes()

    def read(self, first: int, count: int) -> np.ndarray:
        """Read `count` bytes from the byte `first`. The first read checks the checksum of the whole entry."""
        if not self.is_stored:
            return self._inflate(first, count)
        start = self._data_offset()
        if start + first + count > self._file.size:
            raise damaged_pickle(self._file.path, f"{self._info.filename} reaches beyond the end of the file")
        read = self._file.read(start + first, count)
        if not self._is_checked:
            whole = count == self._info.file_size
            self._check(zlib.crc32(read.data) if whole else self._checksum(start))
        return read

    def _data_offset(self) -> int:
        # The entry's local header has the lengths of the name and the extra field in front of the data.
        at = self._info.header_offset
        local = self._file.read(at, 30).tobytes() if 0 <= at < self._file.size else b""
        if local[:4] != b"PK\x03\x04":
            raise damaged_pickle(self._file.path, f"{self._info.filename} does not begin where the archive says")
        return at + 30 + sum(struct.unpack("<HH", local[26:30]))

    def _checksum(self, start: int) -> int:
        checksum, end = 0, start + self._info.file_size
        if end > self._file.size:
            raise damaged_pickle(self._file.path, f"{self._info.filename} reaches beyond the end of the file")
        for at in range(start, end, _CHUNK):
            checksum = zlib.crc32(self._file.read(at, min(_CHUNK, end - at)).data, checksum)
        return checksum

    def _check(self, checksum: int) -> None:
        if checksum != self._info.CRC:
            raise damaged_pickle(self._file.path, f"the checksum of {self._info.filename} is wrong")
        self._is_checked = True

    def _inflate(self, first: int, count: int) -> np.ndarray:
        """Decompress the entry to its end, where zipfile checks the checksum; keep `count` bytes of it."""
        kept, at = np.empty(count, np.uint8), 0
        try:
            with zipfile.ZipFile(self._file.path) as archive, archive.open(self._info) as stream:
                while chunk := stream.read(_CHUNK):
                    begin, end = max(first - at, 0), min(first + count - at, len(chunk))
                    if begin < end:
                        kept[at + begin - first : at + end - first] = np.frombuffer(chunk, np.uint8)[begin:end]
                    at += len(chunk)
        except _ZIP_ERRORS as error:
            self._file.read(0, 0)  # raises another error if the file was changed
            raise damaged_pickle(self._file.path, error) from error
        if at != self._info.file_size:
            raise damaged_pickle(self._file.path, f"{self._info.filename} has {at} bytes")
        return kept


# -- plain pickles ----------------------------------------------------------------------------------------------


def _read_plain(file: CheckedFile) -> object:
    """Read the five pickles of a plain file: magic number, version, system, content, keys of the storages."""
    storages: dict[str, _Storage] = {}

    def persistent(identifier: object) -> _Storage:
        dtype, key, count, view = _parse_storage(identifier)
        root = storages.setdefault(key, _Storage(dtype, count, key))
        if view is None:
            return root
        start, length = view[1:] if isinstance(view, tuple) and len(view) == 3 else (None, None)
        if type(start) is not int or type(length) is not int or start < 0 or length < 0:
            raise BadPickle(f"a view of storage {shown(key)}: {shown(view)}")
        # The position of the root's bytes is known later: the view asks the root.
        return _Storage(dtype, length, key, start, root.read)

    with open(file.path, "rb") as stream:
        load = partial(load_pickle, stream, file.path, _TABLE, persistent)
        if load(most_opcodes=_MOST_SMALL_OPCODES) != _MAGIC:
            raise BadPickle("it is not a PyTorch checkpoint (archives from before 2017 are not supported)")
        load(most_opcodes=_MOST_SMALL_OPCODES)  # version of the format
        load(most_opcodes=_MOST_SMALL_OPCODES)  # type sizes on the writing machine; the data are always little-endian
        loaded, keys, start = load(), load(), stream.tell()
    if not isinstance(keys, list) or any(not isinstance(key, str) or key not in storages for key in keys):
        raise BadPickle("the list of its storages is missing or wrong")
    for key in keys:
        start = _place_storage(storages[key], file, start)
    absent = [shown(key) for key, storage in storages.items() if storage.source is None and storage.count]
    if absent:
        raise BadPickle(f"storages {', '.join(absent[:20])} have no data")
    return loaded


def _place_storage(storage: _Storage, file: CheckedFile, at: int) -> int:
    """Record where the data of a storage start: after eight bytes with the number of elements. Return their end."""
    if at + 8 > file.size:
        raise BadPickle(f"storage {shown(storage.key)} is missing")
    (count,) = struct.unpack("<q", file.read(at, 8).tobytes())
    start, end = at + 8, at + 8 + count * storage.item_size
    if count < storage.count or end > file.size:
        expected = storage.count * storage.item_size
        raise BadPickle(f"storage {shown(storage.key)} has {file.size - start} bytes, {expected} expected")

    def read(first: int, length: int) -> np.ndarray:
        if start + first + length > end:
            raise damaged_pickle(file.path, f"a view reaches beyond storage {shown(storage.key)}")
        return file.read(start + first, length)

    storage.source = read
    return end


# -- what the pickles may name ----------------------------------------------------------------------------------


def _parse_storage(identifier: object) -> tuple[str, str, int, object]:
    """Return (dtype, key, elements, view) of a persistent id ("storage", type, key, location, elements, view)."""
    if not isinstance(identifier, tuple) or len(identifier) < 5:
        raise BadPickle(f"the persistent id {shown(identifier)}")
    tag, kind, key, _, count = identifier[:5]
    valid = isinstance(tag, str) and tag == "storage" and isinstance(kind, _Dtype) and isinstance(key, str)
    if not valid or type(count) is not int or not 0 <= count < 2**60:
        raise BadPickle(f"the persistent id {shown(identifier)}")
    return kind.name, key, count, identifier[5] if len(identifier) > 5 else None


def _rebuild_tensor_v3(*arguments: object) -> _View:
    return _View(*arguments[:4], dtype=arguments[6])  # storage, offset, shape, stride, gradient, hooks, dtype


def _rebuild_from_type(function: Callable[..., object], kind: object, arguments: tuple, state: object) -> object:
    return function(*arguments)  # only functions of the table can be called


def _first(value: object = (), *_: object) -> object:
    return value


def _inert(*_: object) -> Inert:
    return Inert()


def _globals(modules: Iterable[str], names: Iterable[str]) -> list[str]:
    names = tuple(names)
    return [f"{module} {name}" for module in modules for name in names]


_BUILTINS = ("builtins", "__builtin__")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
_TABLE: Mapping[str, object] = {
    "torch._utils _rebuild_tensor": _View,
    "torch._utils _rebuild_tensor_v2": _View,
    "torch._utils _rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils _rebuild_parameter": _first,
    "torch._utils _rebuild_parameter_with_state": _first,
    "torch._tensor _rebuild_from_type_v2": _rebuild_from_type,
    **{f"torch {name}": _Dtype(dtype) for name, dtype in {**_TORCH_DTYPES, **_STORAGES}.items()},
    **{f"torch.storage {name}": _Dtype(dtype) for name, dtype in _STORAGES.items()},
    **{f"torch.cuda {name}": _Dtype(dtype) for name, dtype in _STORAGES.items()},
    **{f"torch.storage {name}": _Dtype("uint8") for name in ("TypedStorage", "_TypedStorage", "_UntypedStorage")},
    **dict.fromkeys(_globals(("collections",), ("OrderedDict", "Counter")), DICT),
    "collections defaultdict": lambda *_: PickledDict(),
    "pytorch_lightning.utilities.parsing AttributeDict": DICT,
    **dict.fromkeys(_globals(_BUILTINS, ("dict",)), DICT),
    # their elements as they are: no hashing, no copies
    **dict.fromkeys(["torch Size", *_globals(_BUILTINS, ("set", "frozenset", "list", "tuple"))], _first),
    # known and not needed: numbers, devices, and settings in Lightning's training checkpoints
    **dict.fromkeys(
        [
            *("torch device", "torch Tensor", "torch.nn.parameter Parameter", "torch.serialization _get_layout"),
            *("_codecs encode", "typing Any", "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint"),
            *("omegaconf.dictconfig DictConfig", "omegaconf.listconfig ListConfig"),
            *_globals(("omegaconf.base",), ("ContainerMetadata", "Metadata")),
            *(f"omegaconf.nodes {kind}Node" for kind in ("Any", "Integer", "Float", "String", "Boolean")),
            *_globals(_BUILTINS, ("bytes", "bytearray", "complex", "int", "float", "bool", "str", "slice")),
            *_globals(_NUMPY, ("scalar", "_reconstruct", "dtype", "ndarray")),
            *(f"numpy.dtypes {kind}DType" for kind in ("Bool", "Float16", "Float32", "Float64")),
            *(f"numpy.dtypes {sign}Int{bits}DType" for sign in ("", "U") for bits in (8, 16, 32, 64)),
        ],
        _inert,
    ),
}


# -- the tensors ------------------------------------------------------------------------------------------------


def _all_views(loaded: object) -> dict[str, _View]:
    """Return every tensor inside dictionaries and lists; a container that occurs again is not entered again."""
    found: dict[str, _View] = {}
    entered: set[int] = set()
    waiting: list[tuple[str, object]] = [("", loaded)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, _View):
            found[name] = value
        if not isinstance(value, (dict, list, tuple)) or id(value) in entered:
            continue
        if len(name) > _LONGEST_NAME:
            raise BadPickle(f"the path of keys to a container is longer than {_LONGEST_NAME} characters")
        entered.add(id(value))
        members = value.items() if isinstance(value, dict) else enumerate(value)
        entered_next = [(key, member) for key, member in members if _is_name(key) and _holds_tensors(member)]
        if len(found) + len(waiting) + len(entered_next) > MOST_TENSORS:
            raise BadPickle(f"it has more than {MOST_TENSORS} tensors and containers")
        waiting += reversed([(f"{name}.{key}" if name else str(key), member) for key, member in entered_next])
    return found


def _holds_tensors(value: object) -> bool:
    return isinstance(value, (_View, dict, list, tuple))


def _is_name(key: object) -> bool:
    return isinstance(key, str) or type(key) is int


def _views_of(loaded: object, path: Path) -> dict[str, _View]:
    """Return the tensors of a state dict."""
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict):
        raise WeightsError(
            "The file does not contain a dictionary of tensors.", where=path, expected="a state dict: names and tensors"
        )
    views = {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, _View)}
    if not views and loaded:
        raise WeightsError(
            "The file contains no named tensors.",
            where=path,
            problems=[
                f"{shown(name)}: {type(value).__name__.lstrip('_')}" for name, value in list(loaded.items())[:20]
            ],
            expected="a state dict: names and tensors",
        )
    return views
