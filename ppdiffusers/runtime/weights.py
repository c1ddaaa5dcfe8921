"""The weights of a compiled network in one file that all its programs share.

The engine holds its own, rearranged copy of the weights. To avoid a second copy in memory, the network's parameters
become views of this mapped file: the operating system reads its pages on demand and drops them when memory is short.
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

from ppdiffusers.core.files import use_while_alive
from ppdiffusers.runtime.snapshot import sublayers
from ppdiffusers.runtime.state import StatefulLayer
from ppdiffusers.runtime.threads import get_num_threads
from ppdiffusers.utils.arrays import array_view

_FILE, _TABLE = "weights.bin", "weights.json"
_PAGE = 4096
_SAMPLES = 9
# MADV_PAGEOUT, which Python's mmap does not name
_PAGE_OUT = 21
# Linux describes each page of the process here; reading the page itself would map up to 2 MB around it.
_PAGEMAP = "/proc/self/pagemap"
_IN_USE, _FILE_BACKED = np.uint64(0b11 << 62), np.uint64(1 << 61)


def named_weights(layer: nn.Layer) -> Iterator[tuple[str, paddle.Tensor]]:
    """Yield parameters and buffers with their state-dict keys, except state (`runtime.state`)."""
    state = {id(tensor) for part in sublayers(layer) for tensor in _state_buffers(part)}
    yield from layer.named_parameters()
    yield from ((key, buffer) for key, buffer in layer.named_buffers() if id(buffer) not in state)


def _state_buffers(layer: nn.Layer) -> list[paddle.Tensor]:
    return list(layer._buffers.values()) if isinstance(layer, StatefulLayer) else []


def hash_weights(layer: nn.Layer) -> str:
    """Return a hash of names, shapes, dtypes and all bytes; tensors are hashed in parallel."""
    return _hash_all((key, lambda tensor=tensor: array_view(tensor)) for key, tensor in named_weights(layer))


def _hash_all(arrays: Iterable[tuple[str, Callable[[], np.ndarray]]]) -> str:
    with ThreadPoolExecutor(get_num_threads()) as pool:
        hashes = sorted(pool.map(_hash_one, arrays))
    return hashlib.blake2b("\n".join(hashes).encode(), digest_size=20).hexdigest()


def _hash_one(item: tuple[str, Callable[[], np.ndarray]]) -> str:
    key, array = item[0], item[1]()
    # SHA-256 is faster than BLAKE2: processors have instructions for it
    content = hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest()
    return f"{key}|{list(array.shape)}|{array.dtype}|{content}"


def write_weights(layer: nn.Layer, folder: Path) -> None:
    """Write all weights into one file, each at the start of a page, and a table of their offsets."""
    table, tensors, end = {}, dict(named_weights(layer)), 0
    for key, tensor in tensors.items():
        table[key] = [str(tensor.dtype).rpartition(".")[2], list(tensor.shape), end]
        end += -(-_byte_size(*table[key][:2]) // _PAGE) * _PAGE

    def write(key: str) -> None:
        with open(folder / _FILE, "rb+") as file:
            file.seek(table[key][2])
            # not numpy's tofile, which does not report a disk that is full at the very end
            file.write(array_view(tensors[key]).reshape(-1).view(np.uint8))

    with open(folder / _FILE, "wb") as file, ThreadPoolExecutor(get_num_threads()) as pool:
        file.truncate(max(end, _PAGE))
        list(pool.map(write, table))
        os.fsync(file.fileno())
    (folder / _TABLE).write_text(json.dumps(table), encoding="utf-8")


class WeightsFile:
    """A mapped file of weights. Writing to its arrays changes memory, never the file.

    Attributes:
        arrays: state-dict key -> array in the mapped file.
    """

    def __init__(self, folder: Path):
        use_while_alive(self, folder)
        self._path = folder / _FILE
        self._table = json.loads((folder / _TABLE).read_text(encoding="utf-8"))
        self._map = self._map_file()
        self._words = np.frombuffer(self._map, np.uint32)
        self.arrays = self._arrays_in(self._map)
        # positions that are compared to detect changes, and their content; None if the system describes every page
        self._positions: np.ndarray | None = None
        if not self._system_describes_pages():
            self._positions = self._sample_positions()
            self._samples = self._words[self._positions]

    def _map_file(self) -> mmap.mmap:
        with open(self._path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)

    def _arrays_in(self, mapping: mmap.mmap) -> dict[str, np.ndarray]:
        whole = np.frombuffer(mapping, np.uint8)
        return {
            key: whole[start : start + _byte_size(dtype, shape)].view(dtype).reshape(shape)
            for key, (dtype, shape, start) in self._table.items()
        }

    def hash(self) -> str:
        """Return the hash of the file on disk, read tensor by tensor and not through the mapping."""
        return _hash_all((key, lambda key=key: self._read(key)) for key in self._table)

    def _read(self, key: str) -> np.ndarray:
        dtype, shape, start = self._table[key]
        return np.fromfile(self._path, dtype, int(np.prod(shape)), offset=start).reshape(shape)

    def _system_describes_pages(self) -> bool:
        """Return whether the page map is usable; on some disks (DAX), pages that were only read seem changed."""
        self._words[:1].copy()  # so that at least one page is in use
        return os.access(_PAGEMAP, os.R_OK) and not self.is_modified()

    def is_modified(self) -> bool:
        """Return whether arrays differ from the file: exact to the page with a page map, else by a few samples."""
        if self._positions is not None:
            return not np.array_equal(self._words[self._positions], self._samples)
        with open(_PAGEMAP, "rb") as table:
            table.seek(self._words.ctypes.data // mmap.PAGESIZE * 8)
            pages = np.frombuffer(table.read(-(-self._words.nbytes // mmap.PAGESIZE) * 8), np.uint64)
        return bool(np.any((pages & _IN_USE != 0) & (pages & _FILE_BACKED == 0)))

    def release_pages(self) -> None:
        """Release unmodified pages from memory; they are read again on demand."""
        if sys.platform == "linux":
            # Unmapping keeps the file in the system's cache and is fast, but would lose modified pages.
            unmap = self._positions is None and not self.is_modified()
            with contextlib.suppress(OSError):  # kernels before 5.4 do not know _PAGE_OUT
                self._map.madvise(mmap.MADV_DONTNEED if unmap else _PAGE_OUT)

    @contextlib.contextmanager
    def read_through_layer(self) -> Iterator[None]:
        """While the block reads `arrays`, release the pages it has read."""
        with _repeated(self.release_pages, seconds=0.2):
            yield

    @contextlib.contextmanager
    def read_once(self) -> Iterator[dict[str, np.ndarray]]:
        """Give `arrays` in a separate, unmodified mapping, whose pages are released faster."""
        once = self._map_file()

        def release() -> None:
            if sys.platform == "linux":
                once.madvise(mmap.MADV_DONTNEED)

        with _repeated(release, seconds=0.1):
            yield self._arrays_in(once)

    def _sample_positions(self) -> np.ndarray:
        """Return a few positions in each tensor, as indices into `_words`."""
        positions = []
        for dtype, shape, start in self._table.values():
            size = _byte_size(dtype, shape)
            samples = np.linspace(0, max(size // 4 - 1, 0), _SAMPLES if size else 0)
            positions.append(start // 4 + samples.astype(np.int64))
        return np.concatenate(positions) if positions else np.zeros(0, np.int64)


@contextlib.contextmanager
def _repeated(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `action` at this interval while the block runs, and once at its end."""
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


def _byte_size(dtype: str, shape: list[int]) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def map_weights(layer: nn.Layer, file: WeightsFile) -> None:
    """Make the layer's weights views of the mapped file; their own memory is freed."""
    for key, tensor in named_weights(layer):
        if tensor.size:
            mapped = paddle.from_dlpack(file.arrays[key])
            tensor.get_tensor()._share_data_with(mapped.get_tensor())
            tensor.mapped = mapped  # a reference: sharing its memory does not keep it alive


class WeightsVersion:
    """Detects that weights were replaced, moved, or changed in place.

    It compares identity, address and Paddle's in-place version of all tensors, and checks the mapped file, if the
    weights are in one, for modified pages.
    """

    def __init__(self, layer: nn.Layer, file: WeightsFile | None):
        self._layer, self._file = layer, file
        self._tensors = self._describe()

    def changed(self) -> bool:
        """Return whether the weights have changed since this object was made."""
        return self._describe() != self._tensors or self._file is not None and self._file.is_modified()

    def _describe(self) -> list[tuple[int, int, int]]:
        return [(id(tensor), tensor.data_ptr(), tensor.inplace_version) for tensor in _weights(self._layer)]


def _weights(layer: nn.Layer) -> Iterator[paddle.Tensor]:
    """Yield the same tensors as `named_weights`, faster: this runs at each call."""
    for part in sublayers(layer):
        buffers = () if isinstance(part, StatefulLayer) else part._buffers.values()
        for tensor in (*part._parameters.values(), *buffers):
            if tensor is not None and tensor.size:
                yield tensor
