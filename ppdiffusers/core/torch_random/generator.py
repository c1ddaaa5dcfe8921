"""`TorchGenerator`: the random numbers of `torch.Generator`, without torch."""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Sequence

import numpy as np

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.torch_random.cpu import CPUStream
from ppdiffusers.core.torch_random.cuda import CUDAStream
from ppdiffusers.core.torch_random.shapes import as_shape

DEFAULT_SEED = 67280421310721  # of a torch generator that was never seeded
DTYPES = ("float32", "float64", "float16", "bfloat16")
A100 = {"multiprocessors": 108, "max_threads_per_multiprocessor": 2048}


class TorchGenerator:
    """Draw the numbers of `torch.Generator(device).manual_seed(seed)` as numpy arrays.

    The CPU stream equals PyTorch's bit for bit, with one exception: the logarithm, sine and cosine of float32 normals
    may differ in the last bit, so that float32 normals (and 16-bit normals before rounding) agree to 1e-6.

    The CUDA stream agrees to about 1e-6 (a GPU's sine is approximate) with `torch.randn` and `torch.rand`. When a draw
    has more elements than the GPU runs threads at once, the number that an element gets depends on the GPU: the limit
    is 108 * 2048 = 221184 on an A100, 132 * 2048 on an H100, 128 * 1536 on an RTX 4090, 40 * 1024 on a T4. Smaller
    draws are the same on every GPU. float64 on CUDA follows cuRAND's documentation and was not compared with a GPU.

    Args:
        seed: -2**63 to 2**64 - 1; a negative seed is taken modulo 2**64, as in torch. None: torch's default seed.
        device: "cpu" or "cuda" (also "cuda:0", "gpu"): selects the stream, not the device of the result.
        multiprocessors: `torch.cuda.get_device_properties(0).multi_processor_count` of the GPU to reproduce; an A100
            by default.
        max_threads_per_multiprocessor: of the same GPU.

    Raises:
        InputError: the device is unknown, or the seed has more than 64 bits.
    """

    def __init__(
        self,
        seed: int | None = None,
        device: str = "cpu",
        *,
        multiprocessors: int = A100["multiprocessors"],
        max_threads_per_multiprocessor: int = A100["max_threads_per_multiprocessor"],
    ):
        self.device = _device_kind(device)
        if multiprocessors < 1 or max_threads_per_multiprocessor < 256:
            raise InputError(
                "The GPU properties are not valid.",
                where=f"multiprocessors={multiprocessors}, {max_threads_per_multiprocessor=}",
                expected="at least 1 multiprocessor and at least 256 threads per multiprocessor",
            )
        self._gpu = (multiprocessors, max_threads_per_multiprocessor)
        value = _as_seed(DEFAULT_SEED if seed is None else seed)
        self._stream: CPUStream | CUDAStream
        self._stream = CPUStream(value) if self.device == "cpu" else CUDAStream(value, *self._gpu)

    def __repr__(self) -> str:
        return f"TorchGenerator(seed={self.initial_seed()}, device={self.device!r})"

    # -- seeds and states ----------------------------------------------------------------------------------------

    def manual_seed(self, seed: int) -> TorchGenerator:
        """Restart the stream from `seed` and return the generator."""
        value = _as_seed(seed)
        if isinstance(self._stream, CPUStream):
            self._stream.restart(value)
        else:
            self._stream = CUDAStream(value, *self._gpu)
        return self

    def initial_seed(self) -> int:
        """Return the seed of the stream as torch reports it, 0 to 2**64 - 1."""
        return self._stream.seed

    def seed(self) -> int:
        """Restart the stream from an unpredictable seed and return the seed."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self.initial_seed()

    def get_state(self) -> np.ndarray:
        """Return the state of the stream, uint8: [5056] on the CPU, [16] on CUDA.

        The layout is torch's: `torch_generator.set_state(torch.from_numpy(ours.get_state()))` continues this stream in
        torch, and `ours.set_state(torch_generator.get_state().numpy())` continues torch's stream here.
        """
        return np.frombuffer(self._stream.get_state(), dtype=np.uint8).copy()

    def set_state(self, state: object) -> TorchGenerator:
        """Continue from a state of `get_state()`, from this class or from torch, and return the generator.

        Args:
            state: uint8 array or CPU tensor.

        Raises:
            InputError: the bytes are not a valid state of a generator of this device.
        """
        self._stream.set_state(np.asarray(state, dtype=np.uint8).tobytes())
        return self

    # -- numbers -------------------------------------------------------------------------------------------------

    def randn(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """Draw standard normal numbers.

        Args:
            shape: shape of the result; () gives one number.
            dtype: "float32", "float64", "float16" or "bfloat16". As in torch, each dtype has different numbers.

        Returns:
            An array of `shape`; bfloat16 as uint16 bits, which `paddle.to_tensor` converts to a bfloat16 tensor.
        """
        shape = as_shape(shape)
        return self._stream.randn(math.prod(shape), _checked(dtype)).reshape(shape)

    def rand(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """Draw uniform numbers in [0, 1); see `randn` for arguments and result."""
        shape = as_shape(shape)
        return self._stream.rand(math.prod(shape), _checked(dtype)).reshape(shape)

    def exponential(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """Draw exponential numbers of rate 1 (`tensor.exponential_()` in torch); CPU streams only."""
        shape = as_shape(shape)
        return self._cpu_stream("exponential").exponential(math.prod(shape), _checked(dtype)).reshape(shape)

    def randint(self, low: int, high: int, shape: Sequence[int] | int) -> np.ndarray:
        """Draw int64 numbers in [low, high) of `shape`; CPU streams only."""
        if not -(2**63) <= low < high < 2**63:
            raise InputError("randint got an empty range.", where=f"[{low}, {high})", expected="low < high")
        shape = as_shape(shape)
        return self._cpu_stream("randint").randint(low, high, math.prod(shape)).reshape(shape)

    def randperm(self, count: int) -> np.ndarray:
        """Draw a permutation of 0 to count - 1, [count] int64; CPU streams only."""
        return self._cpu_stream("randperm").randperm(*as_shape(count))

    def multinomial(self, weights: object, count: int, replacement: bool = False) -> np.ndarray:
        """Draw category indices with probabilities proportional to `weights`; CPU streams only.

        Args:
            weights: [categories] or [rows, categories], non-negative, with a positive sum per row; dtypes other than
                float64 are cast to float32.
            count: number of draws per row.
            replacement: whether a category can be drawn more than once.

        Returns:
            [count] or [rows, count] int64.

        Raises:
            InputError: the weights are not valid, or there are more draws than categories without replacement.
        """
        weights = np.asarray(weights)
        weights = weights if weights.dtype == np.float64 else weights.astype(np.float32)
        _check_weights(weights, count, replacement)
        rows = weights.reshape(-1, weights.shape[-1])  # [rows, categories]
        stream = self._cpu_stream("multinomial")
        if not replacement or count == 1:
            # argmax of p / q with q ~ Exp(1) is a draw from p; the next largest are draws without replacement.
            q = stream.exponential(rows.size, str(rows.dtype)).reshape(rows.shape)
            drawn = np.argsort(-(rows / q), axis=-1, kind="stable")[:, :count]
        else:
            drawn = np.stack([_by_cumulative_sum(row, stream.rand(count, "float64")) for row in rows])
        return drawn.reshape(*weights.shape[:-1], count).astype(np.int64)

    def _cpu_stream(self, method: str) -> CPUStream:
        if not isinstance(self._stream, CPUStream):
            raise InputError(
                f"`{method}` is implemented for torch's CPU stream only.",
                where=repr(self),
                expected="randn or rand for a CUDA stream",
                remedy="use a TorchGenerator(seed, device='cpu')",
            )
        return self._stream


def _as_seed(seed: int) -> int:
    """Check a seed and return it modulo 2**64."""
    value = operator.index(seed)
    if not -(2**63) <= value < 2**64:
        raise InputError("A seed must fit into 64 bits.", where=f"seed={seed}", expected="-2**63 <= seed < 2**64")
    return value % 2**64


def _device_kind(device: object) -> str:
    name = str(device)  # torch.device and paddle's places print their names
    if re.fullmatch(r"(Place\()?(cuda|gpu)(:\d+)?\)?", name):
        return "cuda"
    if re.fullmatch(r"(Place\()?cpu(:0)?\)?", name):
        return "cpu"
    raise InputError("The random stream of this device is unsupported.", where=f"{device=}", expected="'cpu' or 'cuda'")


def _checked(dtype: str) -> str:
    if dtype not in DTYPES:
        raise InputError("Random numbers need a floating dtype.", where=f"dtype={dtype!r}", expected=", ".join(DTYPES))
    return dtype


def _check_weights(weights: np.ndarray, count: int, replacement: bool) -> None:
    if weights.ndim not in (1, 2) or weights.size == 0:
        raise InputError("multinomial needs a vector or a matrix of weights.", where=f"shape {weights.shape}")
    problems = []
    if not np.isfinite(weights).all() or (weights < 0).any():
        problems.append("some weights are negative, infinite or NaN")
    elif not (weights.sum(axis=-1) > 0).all():
        problems.append("a row has no positive weight")
    if count < 1 or (not replacement and count > weights.shape[-1]):
        problems.append(f"{count} draws from {weights.shape[-1]} categories, {replacement=}")
    if problems:
        raise InputError("multinomial cannot draw from these weights.", where="weights, count", problems=problems)


def _by_cumulative_sum(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return the category of each uniform number in the cumulative distribution, [count]."""
    cumulative = np.cumsum(weights, dtype=weights.dtype)  # [categories], added in order, as in torch
    cumulative /= cumulative[-1]
    cumulative[-1] = 1.0
    return np.searchsorted(cumulative.astype(np.float64), uniform, side="left")
