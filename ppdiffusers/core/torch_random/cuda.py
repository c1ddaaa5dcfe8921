"""The numbers torch draws on an NVIDIA GPU: Philox, cuRAND's transforms, and how torch spreads them over threads."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.torch_random.carrier import nearest, to_carrier
from ppdiffusers.core.torch_random.philox import philox4x32

BLOCK = 256  # threads in a block of torch's kernels
WORDS_PER_CALL = 4  # what one draw of a thread takes from the engine
_STATE = struct.Struct("<Qq")  # torch's own 16 bytes: seed, offset


class CUDAStream:
    """A stream of torch's CUDA numbers: a seed and how far every thread's sequence is used up.

    Thread t draws from the t-th of 2**64 sequences of the seed. How many threads there are, and so which sequence an
    element comes from, depends on the GPU as soon as there are more elements than threads that fit on it at once.
    """

    def __init__(self, seed: int, multiprocessors: int, max_threads_per_multiprocessor: int):
        self.seed = seed
        self.offset = 0
        self._most_blocks = multiprocessors * (max_threads_per_multiprocessor // BLOCK)

    def randn(self, count: int, dtype: str) -> np.ndarray:
        """[count] standard normal numbers in the carrier of `dtype`; 16-bit ones are float32 ones, rounded."""
        if dtype == "float64":
            return self._draw(count, 2, _normal_float64)
        return to_carrier(self._draw(count, 4, _normal_float32), dtype)

    def rand(self, count: int, dtype: str) -> np.ndarray:
        """[count] numbers in [0, 1) in the carrier of `dtype`: cuRAND's are in (0, 1], and torch turns 1 into 0."""
        values = (
            self._draw(count, 2, _uniform_float64) if dtype == "float64" else self._draw(count, 4, _uniform_float32)
        )
        values[nearest(values, dtype) == 1.0] = 0.0
        return to_carrier(values, dtype)

    def _draw(self, count: int, unroll: int, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """[count] numbers, of which each thread makes `unroll` from the four words of one call."""
        if count == 0:
            return transform(np.zeros((WORDS_PER_CALL, 0), dtype=np.uint64)).reshape(-1)
        threads = BLOCK * min(self._most_blocks, -(-count // BLOCK))
        calls = -(-count // (threads * unroll))
        values = [transform(self._words(threads, call)) for call in range(calls)]  # calls x [unroll, threads]
        self.offset += calls * WORDS_PER_CALL
        return np.stack(values).reshape(-1)[:count]  # element = (call * unroll + i) * threads + thread

    def _words(self, threads: int, call: int) -> np.ndarray:
        """[4, threads]: what the engine gives every thread at its `call`-th call from the present offset on."""
        position = self.offset // WORDS_PER_CALL + call
        counter = np.zeros((4, threads), dtype=np.uint64)
        counter[0] = position & 0xFFFFFFFF
        counter[1] = position >> 32
        counter[2] = np.arange(threads)  # the upper half counts sequences
        return philox4x32(counter, self.seed)

    def get_state(self) -> bytes:
        """torch's own 16 bytes: seed and offset, little-endian."""
        return _STATE.pack(self.seed, self.offset)

    def set_state(self, state: bytes) -> None:
        """Continue from `get_state()`'s bytes, ours or torch's."""
        if len(state) != _STATE.size:
            raise InputError(
                "This is not the state of a CUDA generator.",
                where=f"{len(state)} bytes",
                expected=f"{_STATE.size} bytes: seed and offset",
            )
        seed, offset = _STATE.unpack(state)
        if offset < 0 or offset % WORDS_PER_CALL:
            raise InputError(
                "A CUDA generator's offset is a multiple of 4.", where=f"offset={offset}", expected="0, 4, 8, ..."
            )
        self.seed, self.offset = seed, offset


# cuRAND's transforms. A word becomes a number in (0, 1] by half a step's shift. The GPU fuses the multiplication with
# the addition, hence float64 in between; its sine and cosine are approximate ones, so normals agree to about 1e-6.


def _uniform_float32(words: np.ndarray) -> np.ndarray:
    """[4, n] words -> [4, n] float32 in (0, 1]."""
    return (words.astype(np.float32).astype(np.float64) * 2.0**-32 + 2.0**-33).astype(np.float32)


def _normal_float32(words: np.ndarray) -> np.ndarray:
    """[4, n] words -> [4, n] float32: two pairs by Box and Muller, the sine first."""
    step = np.float32(2.0**-32) * np.float32(2.0 * np.pi)
    u = _uniform_float32(words[0::2])  # [2, n]
    angle = (words[1::2].astype(np.float32).astype(np.float64) * step + step / 2).astype(np.float32)
    radius = np.sqrt(np.float32(-2.0) * np.log(u))
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1).reshape(4, -1)


def _uniform_float64(words: np.ndarray) -> np.ndarray:
    """[4, n] words -> [2, n] float64 in (0, 1], of 53 bits each."""
    return (words[0::2] ^ (words[1::2] << np.uint64(21))).astype(np.float64) * 2.0**-53 + 2.0**-54


def _normal_float64(words: np.ndarray) -> np.ndarray:
    """[4, n] words -> [2, n] float64: one pair by Box and Muller, the sine first."""
    u, v = _uniform_float64(words)
    radius, angle = np.sqrt(-2.0 * np.log(u)), 2.0 * np.pi * v
    return np.stack([radius * np.sin(angle), radius * np.cos(angle)])
