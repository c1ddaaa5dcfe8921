"""torch's CUDA stream: Philox, cuRAND's transforms, and the order in which torch assigns numbers to threads."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.torch_random.philox import philox4x32
from ppdiffusers.core.torch_random.storage import round_to, to_storage

BLOCK = 256  # threads per block of torch's kernels
WORDS_PER_CALL = 4  # words that a thread takes from the engine at a time
_STATE = struct.Struct("<Qq")  # torch's 16 bytes: seed, offset


class CUDAStream:
    """torch's CUDA stream: a seed and the common offset of all threads' sequences.

    Thread t draws from the t-th of 2**64 sequences of the seed. When a draw has more elements than the GPU runs
    threads at once, the number of threads, and with it the sequence of each element, depends on the GPU.
    """

    def __init__(self, seed: int, multiprocessors: int, max_threads_per_multiprocessor: int):
        self.seed = seed
        self.offset = 0
        self._most_blocks = multiprocessors * (max_threads_per_multiprocessor // BLOCK)

    def randn(self, count: int, dtype: str) -> np.ndarray:
        """Return [count] standard normal numbers in the storage dtype of `dtype`; 16-bit ones are rounded float32."""
        if dtype == "float64":
            return self._draw(count, 2, _normal_float64)
        return to_storage(self._draw(count, 4, _normal_float32), dtype)

    def rand(self, count: int, dtype: str) -> np.ndarray:
        """Return [count] uniform numbers in [0, 1) in the storage dtype of `dtype`.

        cuRAND's numbers are in (0, 1]; torch replaces 1 by 0.
        """
        values = (
            self._draw(count, 2, _uniform_float64) if dtype == "float64" else self._draw(count, 4, _uniform_float32)
        )
        values[round_to(values, dtype) == 1.0] = 0.0
        return to_storage(values, dtype)

    def _draw(self, count: int, unroll: int, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return [count] numbers; each thread makes `unroll` of them from the four words of one call."""
        if count == 0:
            return transform(np.zeros((WORDS_PER_CALL, 0), dtype=np.uint64)).reshape(-1)
        threads = BLOCK * min(self._most_blocks, -(-count // BLOCK))
        calls = -(-count // (threads * unroll))
        values = [transform(self._words(threads, call)) for call in range(calls)]  # calls x [unroll, threads]
        self.offset += calls * WORDS_PER_CALL
        return np.stack(values).reshape(-1)[:count]  # element = (call * unroll + i) * threads + thread

    def _words(self, threads: int, call: int) -> np.ndarray:
        """Return the engine's words of every thread at its `call`-th call after the current offset, [4, threads]."""
        position = self.offset // WORDS_PER_CALL + call
        counter = np.zeros((4, threads), dtype=np.uint64)
        counter[0] = position & 0xFFFFFFFF
        counter[1] = position >> 32
        counter[2] = np.arange(threads)  # the upper half selects the sequence
        return philox4x32(counter, self.seed)

    def get_state(self) -> bytes:
        """Return torch's 16 bytes: seed and offset, little-endian."""
        return _STATE.pack(self.seed, self.offset)

    def set_state(self, state: bytes) -> None:
        """Continue from the bytes of `get_state()`, from this class or from torch."""
        if len(state) != _STATE.size:
            raise InputError(
                "The state does not belong to a CUDA generator.",
                where=f"{len(state)} bytes",
                expected=f"{_STATE.size} bytes: seed and offset",
            )
        seed, offset = _STATE.unpack(state)
        if offset < 0 or offset % WORDS_PER_CALL:
            raise InputError(
                "The offset of a CUDA generator must be a multiple of 4.",
                where=f"offset={offset}",
                expected="0, 4, 8, ...",
            )
        self.seed, self.offset = seed, offset


# cuRAND's transforms. A word becomes a number in (0, 1], shifted by half a step. The GPU fuses multiplication and
# addition, hence float64 for intermediate values. Its sine and cosine are approximate: normals agree to about 1e-6.


def _uniform_float32(words: np.ndarray) -> np.ndarray:
    """Map words [4, n] to float32 numbers in (0, 1], [4, n]."""
    return (words.astype(np.float32).astype(np.float64) * 2.0**-32 + 2.0**-33).astype(np.float32)


def _normal_float32(words: np.ndarray) -> np.ndarray:
    """Map words [4, n] to two Box-Muller pairs of float32 normals, sine first, [4, n]."""
    step = np.float32(2.0**-32) * np.float32(2.0 * np.pi)
    u = _uniform_float32(words[0::2])  # [2, n]
    angle = (words[1::2].astype(np.float32).astype(np.float64) * step + step / 2).astype(np.float32)  # [2, n]
    radius = np.sqrt(np.float32(-2.0) * np.log(u))
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1).reshape(4, -1)


def _uniform_float64(words: np.ndarray) -> np.ndarray:
    """Map words [4, n] to float64 numbers of 53 bits in (0, 1], [2, n]."""
    return (words[0::2] ^ (words[1::2] << np.uint64(21))).astype(np.float64) * 2.0**-53 + 2.0**-54


def _normal_float64(words: np.ndarray) -> np.ndarray:
    """Map words [4, n] to one Box-Muller pair of float64 normals, sine first, [2, n]."""
    u, v = _uniform_float64(words)
    radius, angle = np.sqrt(-2.0 * np.log(u)), 2.0 * np.pi * v
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)])
