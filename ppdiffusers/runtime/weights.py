"""A network's weights in one file that every program of it shares.

While a network is compiled, the engine holds its own, rearranged copy of the weights. So that they are not in memory
twice, the network's parameters then become views of this file: the operating system reads a page when somebody needs
it and forgets it when memory is short.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.runtime.threads import get_num_threads
from ppdiffusers.utils.arrays import array_view

_FILE, _TABLE = "weights.bin", "weights.json"
_PAGE = 4096
_SAMPLES = 9
# MADV_PAGEOUT, which Python's mmap has no name for
_PAGE_OUT = 21
# Linux says here what each page of the process is; reading the page itself would map up to 2 MB around it.
_PAGEMAP = "/proc/self/pagemap"
_IN_USE, _OF_A_FILE = np.uint64(0b11 << 62), np.uint64(1 << 61)


def tensors_of(layer: nn.Layer) -> Iterator[tuple[str, paddle.Tensor]]:
    """Parameters and buffers with their state-dict keys."""
    yield from layer.named_parameters()
    yield from layer.named_buffers()


def hash_weights(layer: nn.Layer) -> str:
    """A hash of names, shapes, dtypes and every byte; the tensors are hashed side by side."""
    return _hash_all((key, lambda tensor=tensor: array_view(tensor)) for key, tensor in tensors_of(layer))


def _hash_all(arrays: Iterable[tuple[str, Callable[[], np.ndarray]]]) -> str:
    with ThreadPoolExecutor(get_num_threads()) as pool:
        parts = sorted(pool.map(_hash_one, arrays))
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=20).hexdigest()


def _hash_one(item: tuple[str, Callable[[], np.ndarray]]) -> str:
    key, array = item[0], item[1]()
    content = hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest()  # processors have instructions for it
    return f"{key}|{list(array.shape)}|{array.dtype}|{content}"


def write_weights(layer: nn.Layer, folder: Path) -> None:
    """Write all weights side by side, each at the start of a page, and a table of where they are."""
    table, tensors, end = {}, dict(tensors_of(layer)), 0
    for key, tensor in tensors.items():
        table[key] = [str(tensor.dtype).rpartition(".")[2], list(tensor.shape), end]
        end += -(-_bytes(*table[key][:2]) // _PAGE) * _PAGE

    def write(key: str) -> None:
        with open(folder / _FILE, "rb+") as file:
            file.seek(table[key][2])
            # not numpy's tofile, which does not say when the disk is full at the very end
            file.write(array_view(tensors[key]).reshape(-1).view(np.uint8))

    with open(folder / _FILE, "wb") as file, ThreadPoolExecutor(get_num_threads()) as pool:
        file.truncate(max(end, _PAGE))
        list(pool.map(write, table))
        os.fsync(file.fileno())
    (folder / _TABLE).write_text(json.dumps(table), encoding="utf-8")


class WeightsFile:
    """A mapped file of weights; what is written to its arrays stays in memory only.

    Attributes:
        arrays: state-dict key -> array that lies in the file.
    """

    def __init__(self, folder: Path):
        self._path = folder / _FILE
        self._table = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
        self._map = self._map_file()
        self._words = np.frombuffer(self._map, np.uint32)
        self.arrays = self._arrays_in(self._map)
        # where to look for changes, and what was there; None where the system tells of every page
        self._places: np.ndarray | None = None
        if not self._system_tells():
            self._places = self._sample_places()
            self._numbers = self._words[self._places]

    def _map_file(self) -> mmap.mmap:
        with open(self._path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def _arrays_in(self, mapping: mmap.mmap) -> dict[str, np.ndarray]:
        whole = np.frombuffer(mapping, np.uint8)
        return {
            key: whole[start : start + _bytes(dtype, shape)].view(dtype).reshape(shape)
            for key, (dtype, shape, start) in self._table.items()
        }

    def hash(self) -> str:
        """The hash of what is on disk, read piece by piece and not through the mapping."""
        return _hash_all((key, lambda key=key: self._read(key)) for key in self._table)

    def _read(self, key: str) -> np.ndarray:
        dtype, shape, start = self._table[key]
        return np.fromfile(self._path, dtype, int(np.prod(shape)), offset=start).reshape(shape)

    def _system_tells(self) -> bool:
        """Whether the system says what each page is; on some disks (DAX) all that was only read seems changed."""
        self._words[:1].copy()  # so that there is a page in use
        return os.access(_PAGEMAP, os.R_OK) and not self.is_written_to()

    def is_written_to(self) -> bool:
        """Whether arrays are no longer as on disk: to the page where the system tells, else at a few places of each."""
        if self._places is not None:
            return not np.array_equal(self._words[self._places], self._numbers)
        with open(_PAGEMAP, "rb") as table:
            table.seek(self._words.ctypes.data // mmap.PAGESIZE * 8)
            pages = np.frombuffer(table.read(-(-self._words.nbytes // mmap.PAGESIZE) * 8), np.uint64)
        return bool(np.any((pages & _IN_USE != 0) & (pages & _OF_A_FILE == 0)))

    def forget(self) -> None:
        """Let go of the pages in memory that are as on disk; they are read again when they are needed."""
        if sys.platform == "linux":
            # Unmapping leaves the file in the system's cache, and is quick. What somebody has written would be lost.
            unmap = self._places is None and not self.is_written_to()
            with contextlib.suppress(OSError):  # kernels before 5.4 do not know _PAGE_OUT
                self._map.madvise(mmap.MADV_DONTNEED if unmap else _PAGE_OUT)

    @contextlib.contextmanager
    def read_through_layer(self) -> Iterator[None]:
        """While this lasts, what is read of `arrays` does not pile up in memory."""
        with _again_and_again(self.forget, seconds=0.2):
            yield

    @contextlib.contextmanager
    def read_once(self) -> Iterator[dict[str, np.ndarray]]:
        """As `arrays`, in a mapping that nobody else has, where forgetting is quicker."""
        once = self._map_file()

        def forget() -> None:
            if sys.platform == "linux":
                once.madvise(mmap.MADV_DONTNEED)

        with _again_and_again(forget, seconds=0.1):
            yield self._arrays_in(once)

    def _sample_places(self) -> np.ndarray:
        """A few places in each tensor, as indices into `_words`."""
        places = []
        for dtype, shape, start in self._table.values():
            size = _bytes(dtype, shape)
            places.append(start // 4 + np.linspace(0, max(size // 4 - 1, 0), _SAMPLES if size else 0).astype(np.int64))
        return np.concatenate(places) if places else np.zeros(0, np.int64)


@contextlib.contextmanager
def _again_and_again(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do this every so many seconds while the block runs, and at its end."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        action()


def _bytes(dtype: str, shape: list[int]) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def move_to_file(layer: nn.Layer, file: WeightsFile) -> None:
    """Make the layer's parameters views of the mapped file; their own memory is freed."""
    for key, tensor in tensors_of(layer):
        if tensor.size:
            mapped = paddle.from_dlpack(file.arrays[key])
            tensor.get_tensor()._share_data_with(mapped.get_tensor())
            tensor.mapped = mapped  # kept: sharing its memory does not keep it alive


class Fingerprint:
    """Notices that weights are others than they were: replaced, moved, or changed in place.

    Which tensors there are, where they lie, and how often Paddle says they were written to is compared for all; and
    whether the mapped file, where they lie in one, was written to.
    """

    def __init__(self, layer: nn.Layer, file: WeightsFile | None):
        self._layer, self._file = layer, file
        self._tensors = self._take()

    def changed(self) -> bool:
        return self._take() != self._tensors or self._file is not None and self._file.is_written_to()

    def _take(self) -> list:
        return [(id(tensor), tensor.data_ptr(), tensor.inplace_version) for tensor in _walk(self._layer)]


def _walk(layer: nn.Layer) -> Iterator[paddle.Tensor]:
    """All tensors of the layer; quicker than asking for their names, because it happens at each call."""
    waiting = [layer]
    while waiting:
        part = waiting.pop()
        waiting.extend(child for child in part._sub_layers.values() if child is not None)
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None and tensor.size:
                yield tensor
