"""The safetensors format: an eight-byte length, a JSON header, then the bytes of all tensors without gaps.

The `safetensors` library parses and checks the header. The tensors themselves are read by `CheckedFile`, because the
library's numpy interface cannot return bfloat16 and its memory map does not survive a file that is truncated while it
is in use. Files are written here, because the library needs all tensors in memory to write them.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.files import replace_file
from ppdiffusers.core.tensors import FILE_DTYPES, MOST_TENSORS, LazyTensor, is_valid_shape
from ppdiffusers.io.checked_file import CheckedFile

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
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F6_E2M3": "float6_e2m3",
    "F6_E3M2": "float6_e3m2",
    "F4": "float4_e2m1",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "C64": "complex64",
}
_PACKED_BITS = {"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}  # several elements share bytes
_LARGEST_HEADER = 32 << 20  # bytes
_CODES = {name: code for code, name in DTYPES.items()}


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    """Read the header of a safetensors file: its lazy tensors and its metadata.

    Raises:
        WeightsError: the file is truncated, is not a safetensors file, or its header contradicts itself.
    """
    file = CheckedFile(path)
    with open(file.path, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if _LARGEST_HEADER < length <= file.size:
        raise _invalid(file.path, [f"its header has {length} bytes, expected at most {_LARGEST_HEADER}"])
    try:
        with safe_open(file.path, framework="numpy") as opened:
            names = opened.offset_keys()
            if len(names) > MOST_TENSORS:
                raise _invalid(file.path, [f"{len(names)} tensors, expected at most {MOST_TENSORS}"])
            slices = {name: opened.get_slice(name) for name in names}
            entries = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _invalid(file.path, [str(error)]) from error
    except MemoryError:  # the library maps the file, which address space has a limit for
        raise _invalid(file.path, [f"{file.size} bytes cannot be mapped into memory"]) from None
    problems = [problem for name, entry in entries.items() if (problem := _problem(name, *entry))]
    if problems:
        raise _invalid(file.path, problems)
    sizes = [math.prod(shape) * _bits(code) // 8 for code, shape in entries.values()]
    # The library refuses gaps, overlaps and trailing bytes: tensors fill the end of the file in the order of `entries`.
    offsets = itertools.accumulate(sizes, initial=file.size - sum(sizes))
    tensors = {
        name: LazyTensor(DTYPES[code], shape, partial(_read_tensor, file, offset, DTYPES[code], shape))
        for (name, (code, shape)), offset in zip(entries.items(), offsets)
    }
    return tensors, metadata


def _bits(code: str) -> int:
    """Return the bits of one element."""
    return _PACKED_BITS.get(code) or 8 * FILE_DTYPES[DTYPES[code]].itemsize


def _read_tensor(file: CheckedFile, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return file.read_into(offset, np.empty(shape, FILE_DTYPES[dtype].newbyteorder("<")))


def _problem(name: str, code: str, shape: tuple[int, ...]) -> str | None:
    if code not in DTYPES:
        return f"{name}: the dtype {code} is not supported; supported: {', '.join(DTYPES)}"
    if not is_valid_shape(shape):
        return f"{name}: no array can have the shape {list(shape)}"
    return None


def _invalid(path: Path, problems: list[str]) -> WeightsError:
    return WeightsError(
        "This safetensors file cannot be read.",
        where=path,
        problems=problems,
        remedy="download or save the file again, with dtypes that are supported.",
    )


def write_safetensors(
    path: str | os.PathLike, tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors one after the other, with at most one of them in memory. The file appears when it is complete.

    Args:
        path: the file to write.
        tensors: name -> tensor; a bfloat16 tensor returns its bits as uint16.
        metadata: strings for the header; `{"format": "pt"}` means PyTorch's layout, `{"format": "pd"}` Paddle's.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    # Wide elements first, as the reference writer does, so that every tensor starts at a multiple of its item size.
    order = sorted(tensors, key=lambda name: (-FILE_DTYPES[tensors[name].dtype].itemsize, name))
    offset = 0
    for name in order:
        tensor = tensors[name]
        span = [offset, offset + tensor.nbytes]
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": span}
        offset += tensor.nbytes
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    with replace_file(path) as staging, open(staging, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in order:
            file.write(tensor_bytes(name, tensors[name]))


def tensor_bytes(name: str, tensor: LazyTensor) -> memoryview:
    """Read a tensor and return its little-endian bytes, after a check of its shape and dtype."""
    array = tensor.read()
    storage = FILE_DTYPES[tensor.dtype]
    if array.shape != tuple(tensor.shape) or array.dtype != storage:
        raise WeightsError(
            f"The values of the tensor {name} do not match its declared shape and dtype.",
            expected=f"{storage} of shape {tuple(tensor.shape)}, found {array.dtype} of shape {array.shape}",
        )
    flat = np.ascontiguousarray(array, dtype=storage.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8).data
