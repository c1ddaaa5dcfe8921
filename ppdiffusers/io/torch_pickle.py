"""PyTorch's `.bin`, `.pt` and `.ckpt` files, read without torch: today's zip archives and the older plain pickles."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.tensors import NUMPY_CARRIER, LazyTensor
from ppdiffusers.io.pickle_machine import BadPickle, Inert, PickleMachine, damaged_pickle, refuse_unsafe, shown
from ppdiffusers.io.safetensors_file import read_exactly

_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a plain (non-zip) file
_LARGEST_EXPANSION = 2**20  # elements that an expanded view may have beyond those of its storage
_MAX_AXES = 32

# how PyTorch names a storage's type -> our dtype
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
}
_TORCH_DTYPES = {
    **{name: name for name in NUMPY_CARRIER},
    "half": "float16",
    "float": "float32",
    "double": "float64",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}


@dataclass(frozen=True)
class _Type:
    """A dtype named by a pickle: `torch.float16` or `torch.HalfStorage`."""

    dtype: str


@dataclass
class _Storage:
    """One run of elements in the file; tensors are views of it."""

    dtype: str
    count: int
    key: str
    start: int = 0  # first element, for the views of plain files
    read: Callable[[int, int], bytearray] | None = None  # (first byte, number of bytes) -> bytes

    @property
    def item_size(self) -> int:
        return NUMPY_CARRIER[self.dtype].itemsize


class _View:
    """A tensor of the pickle: a strided view of a storage."""

    def __init__(self, storage: Any, offset: Any, shape: Any, stride: Any, dtype: str | None = None):
        if not isinstance(storage, _Storage):
            raise BadPickle("a tensor without a storage")
        shape, stride = tuple(shape), tuple(stride)
        numbers = (offset, *shape, *stride)
        if len(shape) != len(stride) or len(shape) > _MAX_AXES:
            raise BadPickle(f"a tensor of shape {shown(shape)} with strides {shown(stride)}")
        if any(type(number) is not int or not 0 <= number < 2**62 for number in numbers):
            raise BadPickle(f"a tensor at {shown(offset)} of shape {shown(shape)} with strides {shown(stride)}")
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride
        self.dtype = dtype or storage.dtype

    def set_pickle_state(self, state: Any) -> None:
        """A tensor's Python attributes: nothing a checkpoint needs."""

    @property
    def span(self) -> int:
        """Elements of the storage from the view's first to its last."""
        if 0 in self.shape:
            return 0
        return 1 + sum((side - 1) * step for side, step in zip(self.shape, self.stride, strict=True))

    def problem(self) -> str | None:
        """Why the view does not fit its storage; None when it does."""
        if self.dtype != self.storage.dtype and self.storage.item_size != 1:
            return f"is {self.dtype} in a storage of {self.storage.dtype}"
        width = NUMPY_CARRIER[self.dtype].itemsize // self.storage.item_size
        if (self.offset + self.span) * width > self.storage.count:
            return f"needs {(self.offset + self.span) * width} elements, its storage has {self.storage.count}"
        elements = 1
        for side in self.shape:
            elements *= side
        if elements > self.span + _LARGEST_EXPANSION:
            return f"is {self.span} values expanded to {elements}"
        return None

    def lazy(self, swapped: bool) -> LazyTensor:
        return LazyTensor(self.dtype, self.shape, partial(self.read, swapped))

    def read(self, swapped: bool = False) -> np.ndarray:
        carrier = NUMPY_CARRIER[self.dtype]
        stored = carrier.newbyteorder(">" if swapped else "<")
        width = carrier.itemsize
        if self.span == 0:
            return np.empty(self.shape, carrier)
        raw = self.storage.read((self.storage.start * self.storage.item_size) + self.offset * width, self.span * width)
        flat = np.frombuffer(raw, stored)
        steps = tuple(step * width for step in self.stride)
        view = np.lib.stride_tricks.as_strided(flat, self.shape, steps)
        return np.ascontiguousarray(view, dtype=carrier).reshape(self.shape)


def read_torch_file(path: str | os.PathLike, nested: bool = False) -> dict[str, LazyTensor]:
    """Read the names, dtypes and shapes of a PyTorch checkpoint; tensors are read when asked for.

    A training checkpoint that has a `state_dict` (Lightning) gives the tensors of that; with `nested` every file gives
    all its tensors, wherever they are, by their keys and positions on the way: "ema.shadow_params.0".

    Raises:
        UnsafeFileError: the pickle names a global that is not on the list of harmless ones; nothing was run.
        WeightsError: the file is truncated, damaged, or no checkpoint.
    """
    path = Path(path)
    with open(path, "rb") as file:
        start = file.read(4)
    try:
        loaded, swapped = _read_zip(path) if start[:2] == b"PK" else _read_plain(path)
        return _named(_all_views(loaded) if nested else _views_of(loaded, path), path, swapped)
    except BadPickle as error:
        raise damaged_pickle(path, error) from error


# -- zip archives -----------------------------------------------------------------------------------------------


def _read_zip(path: Path) -> tuple[Any, bool]:
    """What the archive holds, and whether its numbers have their bytes in big-endian order."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise BadPickle(f"the archive has {len(pickles)} entries named data.pkl, not one")
            prefix = pickles[0][: -len("data.pkl")]
            pickled = _read_entry(archive, entries[pickles[0]], path)
            order = entries.get(prefix + "byteorder")
            swapped = order is not None and _read_entry(archive, order, path).strip() == b"big"
    except _ZIP_ERRORS as error:
        raise BadPickle(error) from error
    storages: dict[str, _Storage] = {}

    def persistent(identifier: Any) -> _Storage:
        kind, dtype, key, count = _storage_identity(identifier)
        if kind not in storages:
            info = entries.get(f"{prefix}data/{key}")
            size = count * NUMPY_CARRIER[dtype].itemsize
            if info is None or info.file_size < size:
                raise BadPickle(f"storage {key} of {size} bytes is not in the archive")
            storages[kind] = _Storage(dtype, count, key, read=partial(_read_storage, path, info))
        return storages[kind]

    machine = PickleMachine(io.BytesIO(pickled), len(pickled), _TABLE, persistent)
    loaded = machine.load()
    refuse_unsafe(machine, path)
    return loaded, swapped


# what zipfile raises on damaged archives
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,  # UnicodeDecodeError too
    OverflowError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    OSError,
)


def _read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bytes:
    if info.file_size > path.stat().st_size * 1100:  # deflate cannot do better: the size is made up
        raise BadPickle(f"{info.filename} announces {info.file_size} bytes")
    return archive.read(info)


def _read_storage(path: Path, info: zipfile.ZipInfo, first: int, count: int) -> bytearray:
    """`count` bytes of an entry, from its byte `first`. PyTorch stores entries uncompressed: one seek, one read."""
    if info.compress_type != zipfile.ZIP_STORED:
        try:
            with zipfile.ZipFile(path) as archive:
                return bytearray(_read_entry(archive, info, path)[first : first + count])
        except _ZIP_ERRORS as error:
            raise damaged_pickle(path, error) from error
    # The lengths of the name and the extra field in front of the data stand in the entry's local header.
    local = read_exactly(path, info.header_offset, np.empty(30, np.uint8)).tobytes()
    name_length, extra_length = struct.unpack("<HH", local[26:30])
    if local[:4] != b"PK\x03\x04":
        raise damaged_pickle(path, f"{info.filename} does not begin where the archive says")
    start = info.header_offset + 30 + name_length + extra_length
    if start + first + count > path.stat().st_size:
        raise damaged_pickle(path, f"{info.filename} reaches beyond the end of the file")
    read = read_exactly(path, start + first, np.empty(count, np.uint8))
    if count == info.file_size and zlib.crc32(read) != info.CRC:
        raise damaged_pickle(path, f"the checksum of {info.filename} is wrong")
    return bytearray(read)


# -- plain pickles ----------------------------------------------------------------------------------------------


def _read_plain(path: Path) -> tuple[Any, bool]:
    storages: dict[str, _Storage] = {}

    def persistent(identifier: Any) -> _Storage:
        _, dtype, key, count = _storage_identity(identifier)
        root = storages.setdefault(key, _Storage(dtype, count, key))
        view = identifier[5] if len(identifier) > 5 else None
        if view is None:
            return root
        _, start, length = view
        if type(start) is not int or type(length) is not int or start < 0 or length < 0:
            raise BadPickle(f"a view of storage {key}: {shown(view)}")
        # The bytes of the root are found later: a view asks it for them.
        return _Storage(dtype, length, key, start, lambda first, count: root.read(first, count))

    with open(path, "rb") as file:
        machine = PickleMachine(file, path.stat().st_size, _TABLE, persistent)
        if machine.load() != _MAGIC:
            refuse_unsafe(machine, path)
            raise BadPickle("it is not a PyTorch checkpoint (archives of the time before 2017 are not read)")
        machine.load()  # the format's number
        machine.load()  # sizes on the writing machine; data are little-endian always
        loaded = machine.load()
        keys = machine.load()
        refuse_unsafe(machine, path)
        if not isinstance(keys, list) or any(key not in storages for key in keys if isinstance(key, str)):
            raise BadPickle("the list of its storages is missing")
        at = file.tell()
        for key in keys:
            if not isinstance(key, str):
                raise BadPickle(f"a storage called {shown(key)}")
            at = _place_storage(storages[key], path, at)
    absent = [key for key, storage in storages.items() if storage.read is None and storage.count]
    if absent:
        raise BadPickle(f"storages {', '.join(absent)} have no data")
    return loaded, False


def _place_storage(storage: _Storage, path: Path, at: int) -> int:
    """Note where the data of a storage lie: eight bytes with the number of elements, then the elements."""
    size = path.stat().st_size
    if at + 8 > size:
        raise BadPickle(f"storage {storage.key} is missing")
    (count,) = struct.unpack("<q", read_exactly(path, at, np.empty(8, np.uint8)).tobytes())
    start, end = at + 8, at + 8 + count * storage.item_size
    if count < storage.count or end > size:
        raise BadPickle(f"storage {storage.key} has {size - start} bytes, {storage.count * storage.item_size} expected")

    def read(first: int, length: int) -> bytearray:
        if start + first + length > end:
            raise damaged_pickle(path, f"a view reaches beyond storage {storage.key}")
        return bytearray(read_exactly(path, start + first, np.empty(length, np.uint8)))

    storage.read = read
    return end


# -- what the pickles may name ----------------------------------------------------------------------------------


def _storage_identity(identifier: Any) -> tuple[str, str, str, int]:
    """(identity, dtype, key, elements) of a persistent id ("storage", type, key, location, elements, ...)."""
    if not isinstance(identifier, tuple) or len(identifier) < 5 or identifier[0] != "storage":
        raise BadPickle(f"the persistent id {shown(identifier)}")
    _, kind, key, _, count = identifier[:5]
    if not isinstance(kind, _Type) or not isinstance(key, str) or type(count) is not int or not 0 <= count < 2**60:
        raise BadPickle(f"the persistent id {shown(identifier)}")
    return f"{key}:{kind.dtype}", kind.dtype, key, count


def _rebuild_tensor(storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> _View:
    return _View(storage, offset, shape, stride)


def _rebuild_tensor_v3(storage: Any, offset: int, shape: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any):
    if not isinstance(dtype, _Type):
        raise BadPickle(f"a tensor of type {shown(dtype)}")
    return _View(storage, offset, shape, stride, dtype.dtype)


def _rebuild_from_type(function: Callable, kind: Any, arguments: tuple, state: Any) -> Any:
    if function not in (_rebuild_tensor, _rebuild_tensor_v3):
        raise BadPickle("a tensor made by something else")
    return function(*arguments)


def _first(value: Any, *_: Any) -> Any:
    return value


def _pairs(items: Any = (), *_: Any) -> dict:
    return dict(items)


def _inert(name: str) -> Callable[..., Inert]:
    return lambda *arguments: Inert(name, arguments)


_HARMLESS_BUILTINS = {
    "set": lambda items=(): set(items),
    "frozenset": lambda items=(): frozenset(items),
    "list": lambda items=(): list(items),
    "tuple": lambda items=(): tuple(items),
    "dict": _pairs,
    "bytes": _inert("bytes"),
    "bytearray": _inert("bytearray"),
    "complex": _inert("complex"),
    "int": _inert("int"),
    "float": _inert("float"),
    "bool": _inert("bool"),
    "str": _inert("str"),
    "slice": _inert("slice"),
}
_TABLE: Mapping[str, Any] = {
    "collections OrderedDict": _pairs,
    "collections defaultdict": lambda factory=None, items=(): dict(items),
    "collections Counter": _pairs,
    "torch Size": lambda sides=(): tuple(sides),
    "torch device": _inert("torch.device"),
    "torch Tensor": _inert("torch.Tensor"),
    "torch.nn.parameter Parameter": _inert("torch.nn.Parameter"),
    "torch._utils _rebuild_tensor": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils _rebuild_parameter": _first,
    "torch._utils _rebuild_parameter_with_state": _first,
    "torch._tensor _rebuild_from_type_v2": _rebuild_from_type,
    "torch.serialization _get_layout": _inert("torch.layout"),
    "_codecs encode": _inert("bytes"),
    **{f"torch {name}": _Type(dtype) for name, dtype in {**_TORCH_DTYPES, **_STORAGES}.items()},
    **{f"torch.storage {name}": _Type(dtype) for name, dtype in _STORAGES.items()},
    **{f"torch.cuda {name}": _Type(dtype) for name, dtype in _STORAGES.items()},
    "torch.storage TypedStorage": _Type("uint8"),
    "torch.storage _TypedStorage": _Type("uint8"),
    "torch.storage _UntypedStorage": _Type("uint8"),
    **{f"{home} {name}": made for home in ("builtins", "__builtin__") for name, made in _HARMLESS_BUILTINS.items()},
    **{
        f"{home} {name}": _inert(f"numpy.{name}")
        for home in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
        for name in ("scalar", "_reconstruct", "dtype", "ndarray")
    },
    # what Lightning's training checkpoints say of how they were made
    "typing Any": _inert("typing.Any"),
    "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint": _inert("ModelCheckpoint"),
    "pytorch_lightning.utilities.parsing AttributeDict": _pairs,
    **{f"omegaconf.{kind}config {kind.title()}Config": _inert("omegaconf") for kind in ("dict", "list")},
    **{f"omegaconf.base {name}": _inert("omegaconf") for name in ("ContainerMetadata", "Metadata")},
    **{f"omegaconf.nodes {n}Node": _inert("omegaconf") for n in ("Any", "Integer", "Float", "String", "Boolean")},
    **{f"numpy.dtypes {name}DType": _inert("numpy.dtype") for name in ("Float16", "Float32", "Float64", "Bool")},
    **{f"numpy.dtypes {s}Int{n}DType": _inert("numpy.dtype") for s in ("", "U") for n in (8, 16, 32, 64)},
}


def _all_views(loaded: Any) -> dict[str, _View]:
    """Every tensor inside dictionaries and lists; a container that is met again is not entered again."""
    found: dict[str, _View] = {}
    entered: set[int] = set()
    waiting = [("", loaded)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, _View):
            found[name] = value
        if not isinstance(value, (dict, list, tuple)) or id(value) in entered:
            continue
        entered.add(id(value))
        members = value.items() if isinstance(value, dict) else enumerate(value)
        named = [(f"{name}.{key}" if name else str(key), member) for key, member in members if _is_name(key)]
        waiting += reversed(named)
    return found


def _is_name(key: Any) -> bool:
    return isinstance(key, str) or type(key) is int


def _views_of(loaded: Any, path: Path) -> dict[str, _View]:
    """The tensors of a state dict."""
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict):
        raise WeightsError(
            "The file holds no dictionary of tensors.", where=path, expected="a state dict: names and tensors"
        )
    views = {name: value for name, value in loaded.items() if isinstance(name, str) and isinstance(value, _View)}
    if not views and loaded:
        raise WeightsError(
            "The file holds no named tensors.",
            where=path,
            problems=[f"{name!s:.100}: {type(value).__name__.lstrip('_')}" for name, value in loaded.items()][:20],
            expected="a state dict: names and tensors",
        )
    return views


def _named(views: Mapping[str, _View], path: Path, swapped: bool) -> dict[str, LazyTensor]:
    """The tensors, checked against their storages."""
    problems = [f"{name} {problem}" for name, view in views.items() if (problem := view.problem())]
    if problems:
        raise WeightsError("Tensors do not fit the data of the file: it is damaged.", where=path, problems=problems)
    return {name: view.lazy(swapped) for name, view in views.items()}
