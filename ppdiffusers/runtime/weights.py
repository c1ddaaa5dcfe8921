"""A network's weights in one file that every program of it shares.

While a network is compiled, the engine holds its own, rearranged copy of the weights. So that they are not in memory
twice, the network's parameters then become views of this file: the operating system reads a page when somebody needs
it and forgets it when memory is short.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.runtime.threads import get_num_threads

_ALIGNMENT = 4096
_SAMPLES = 8


def tensors_of(layer: nn.Layer) -> Iterator[tuple[str, paddle.Tensor]]:
    """Parameters and buffers with their state-dict keys."""
    yield from layer.named_parameters()
    yield from layer.named_buffers()


def array_view(tensor: paddle.Tensor) -> np.ndarray:
    """The memory of a CPU tensor as an array, without a copy; the tensor has to outlive it."""
    dtype = np.dtype(str(tensor.dtype).rpartition(".")[2])
    if not tensor.size:
        return np.empty(tensor.shape, dtype)
    size = tensor.size * tensor.element_size()
    raw = (ctypes.c_byte * size).from_address(tensor.data_ptr())
    return np.frombuffer(raw, np.uint8).view(dtype).reshape(tensor.shape)


def hash_weights(layer: nn.Layer) -> str:
    """A hash of names, shapes, dtypes and every byte; the tensors are hashed side by side."""
    with ThreadPoolExecutor(get_num_threads()) as pool:
        return _hash(pool.map(_hash_one, tensors_of(layer)))


def hash_views(views: dict[str, np.ndarray]) -> str:
    """The same of arrays."""
    with ThreadPoolExecutor(get_num_threads()) as pool:
        return _hash(pool.map(_hash_one, views.items()))


def _hash(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(sorted(parts)).encode(), digest_size=20).hexdigest()


def _hash_one(item: tuple[str, paddle.Tensor | np.ndarray]) -> str:
    key, tensor = item
    array = tensor if isinstance(tensor, np.ndarray) else array_view(tensor)
    content = hashlib.blake2b(array.reshape(-1).view(np.uint8), digest_size=20).hexdigest()
    return f"{key}|{list(array.shape)}|{array.dtype}|{content}"


def write_weights(layer: nn.Layer, folder: Path) -> None:
    """Write all weights, each at the start of a page, and a table of where they are."""
    table = {}
    with open(folder / "weights.bin", "wb") as file:
        for key, tensor in tensors_of(layer):
            file.seek(-(-file.tell() // _ALIGNMENT) * _ALIGNMENT)
            table[key] = [str(tensor.dtype).rpartition(".")[2], list(tensor.shape), file.tell()]
            array_view(tensor).tofile(file)
        file.truncate(max(file.tell(), 1))
        file.flush()
        os.fsync(file.fileno())
    (folder / "weights.json").write_text(json.dumps({"size": os.path.getsize(folder / "weights.bin"), "table": table}))


def map_weights(folder: Path) -> dict[str, np.ndarray]:
    """state-dict key -> array that lies in the file; what is written to it stays in memory only."""
    table = json.loads((folder / "weights.json").read_text())["table"]
    whole = np.memmap(folder / "weights.bin", np.uint8, mode="c")
    views = {}
    for key, (dtype, shape, start) in table.items():
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        views[key] = whole[start : start + size].view(dtype).reshape(shape)
    return views


def move_to_file(layer: nn.Layer, views: dict[str, np.ndarray]) -> None:
    """Make the layer's parameters views of the mapped file; their own memory is freed."""
    for key, tensor in tensors_of(layer):
        if tensor.size:
            tensor.mapped = paddle.from_dlpack(views[key])  # kept: sharing its memory does not keep it alive
            tensor.get_tensor()._share_data_with(tensor.mapped.get_tensor())


class Fingerprint:
    """Notices that weights are others than they were: replaced, moved, or changed in place.

    Where they lie and how often Paddle says they were written to is compared for all of them, the numbers
    themselves at a few places of each.
    """

    def __init__(self, layer: nn.Layer):
        self._layer = layer
        self._taken = self._take()

    def changed(self) -> bool:
        return self._take() != self._taken

    def _take(self) -> tuple:
        found = []
        for key, tensor in tensors_of(self._layer):
            found.append((key, tensor.data_ptr(), tensor.inplace_version, _sample(tensor)))
        return tuple(found)


def _sample(tensor: paddle.Tensor) -> bytes:
    size = tensor.size * tensor.element_size()
    start, step = tensor.data_ptr(), max(size // _SAMPLES, 8) // 8 * 8
    return b"".join(ctypes.string_at(start + at, min(8, size - at)) for at in range(0, size, step)[: _SAMPLES + 1])
