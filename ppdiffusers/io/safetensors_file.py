"""The safetensors format: an eight-byte length, a JSON header, then the bytes of all tensors without gaps.

Read with seek and read, not with a memory map: mapped pages would count as resident memory of the process.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.files import replace_file
from ppdiffusers.core.tensors import NUMPY_CARRIER, LazyTensor

DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}
_CODES = {name: code for code, name in DTYPES.items()}
_MAX_HEADER = 100_000_000  # bytes; the format's own limit
_MAX_AXES = 32  # numpy 1's limit


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    """Read the header of a safetensors file: its tensors, not yet read, and its metadata.

    Raises:
        WeightsError: the file is truncated, is no safetensors file, or its header contradicts itself.
    """
    path = Path(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > _MAX_HEADER or 8 + length > size:
            raise _damaged(path, [f"a header of {length} bytes is announced in a file of {size} bytes"])
        header = _parse_header(file.read(length), path)
    metadata = header.pop("__metadata__", {})
    problems: list[str] = []
    if not isinstance(metadata, dict):
        problems.append("`__metadata__` is not a JSON object")
    base = 8 + length
    entries = {name: _entry(name, entry, problems) for name, entry in header.items()}
    if not problems:
        _check_offsets(entries, size - base, problems)
    if problems:
        raise _damaged(path, problems)
    tensors = {
        name: LazyTensor(dtype, shape, partial(_read_span, path, base + begin, dtype, shape))
        for name, (dtype, shape, begin, _) in entries.items()
    }
    return tensors, metadata


def write_safetensors(
    path: str | os.PathLike, tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors one after the other: no more than one of them is in memory at a time. The file appears when it
    is complete.

    Args:
        path: where to.
        tensors: name -> tensor; a tensor of bfloat16 gives its bits as uint16.
        metadata: strings kept in the header; `{"format": "pt"}` says PyTorch layout, `{"format": "pd"}` Paddle's.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    # Wide elements first, as the reference writer does, so that every tensor starts at a multiple of its item size.
    order = sorted(tensors, key=lambda name: (-NUMPY_CARRIER[tensors[name].dtype].itemsize, name))
    at = 0
    for name in order:
        tensor = tensors[name]
        span = [at, at + tensor.nbytes]
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": span}
        at += tensor.nbytes
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    with replace_file(path) as staging, open(staging, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in order:
            file.write(bytes_of(name, tensors[name]))


def bytes_of(name: str, tensor: LazyTensor) -> memoryview:
    """The little-endian bytes of a tensor, read now and checked against what it announced."""
    array = tensor.read()
    carrier = NUMPY_CARRIER[tensor.dtype]
    if array.shape != tuple(tensor.shape) or array.dtype != carrier:
        raise WeightsError(
            f"The tensor {name} is not what it announced.",
            expected=f"{carrier} of shape {tuple(tensor.shape)}, found {array.dtype} of shape {array.shape}",
        )
    flat = np.ascontiguousarray(array, dtype=carrier.newbyteorder("<")).reshape(-1)
    return memoryview(flat.view(np.uint8))


def read_exactly(path: Path, offset: int, array: np.ndarray) -> np.ndarray:
    """Fill `array` (contiguous) from the bytes of a file at `offset`.

    Raises:
        WeightsError: the file ends before that; it has changed since it was opened.
    """
    with open(path, "rb", buffering=0) as file:
        file.seek(offset)
        view = memoryview(array.reshape(-1).view(np.uint8))
        while len(view):
            count = file.readinto(view)
            if not count:
                raise WeightsError("A weights file ends too early: it was changed while being read.", where=path)
            view = view[count:]
    return array


def _read_span(path: Path, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(shape, NUMPY_CARRIER[dtype].newbyteorder("<"))
    return read_exactly(path, offset, array)


def _parse_header(encoded: bytes, path: Path) -> dict[str, Any]:
    twice: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            twice.extend(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        return made

    try:
        header = json.loads(encoded.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, [f"the header is not JSON: {error}"]) from error
    if twice:
        raise _damaged(path, [f"{name} is there twice" for name in twice])
    if not isinstance(header, dict):
        raise _damaged(path, ["the header is not a JSON object"])
    return header


def _entry(name: str, entry: Any, problems: list[str]) -> tuple[str, tuple[int, ...], int, int]:
    """(dtype, shape, begin, end) of one entry; what is wrong with it is added to `problems`."""
    nothing = ("uint8", (0,), 0, 0)
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= set(entry):
        problems.append(f"{name}: dtype, shape and data_offsets are expected")
        return nothing
    code, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        problems.append(f"{name}: dtype {code} is not one of {', '.join(DTYPES)}")
        return nothing
    if not _are_sizes(shape) or not _are_sizes(span) or len(span) != 2 or len(shape) > _MAX_AXES:
        problems.append(f"{name}: shape {shape} and data_offsets {span} are not lists of sizes")
        return nothing
    count = NUMPY_CARRIER[DTYPES[code]].itemsize
    for side in shape:
        count *= side
    if span[1] - span[0] != count:
        problems.append(f"{name}: {code} of shape {shape} takes {count} bytes, its offsets {span} say otherwise")
    return DTYPES[code], tuple(shape), span[0], span[1]


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**62 for value in values)


def _check_offsets(entries: Mapping[str, tuple], available: int, problems: list[str]) -> None:
    at = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        if begin != at:
            problems.append(f"{name}: starts at byte {begin}, where the one before it ends at {at}")
        at = max(at, end)
    if at > available:
        problems.append(f"the tensors take {at} bytes, the file has {available}: it is truncated")
    elif at < available:
        problems.append(f"the tensors take {at} bytes, and {available - at} bytes follow that belong to none")


def _damaged(path: Path, problems: list[str]) -> WeightsError:
    return WeightsError(
        "This is not an undamaged safetensors file.",
        where=path,
        problems=problems,
        remedy="fetch or save the file again.",
    )
