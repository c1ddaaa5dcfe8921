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

DEFAULT_SEED = 67280421310721  # torch's own, of a generator that was never seeded
DTYPES = ("float32", "float64", "float16", "bfloat16")
A100 = {"multiprocessors": 108, "max_threads_per_multiprocessor": 2048}


class TorchGenerator:
    """Draws the numbers that `torch.Generator(device).manual_seed(seed)` draws, as numpy arrays.

    The CPU stream agrees with PyTorch bit for bit, except for normal numbers of float32 (and of the 16-bit dtypes
    after rounding) whose logarithm, sine and cosine differ in the last bit: 1e-6 at most.

    The CUDA stream agrees to about 1e-6 (a GPU's sine is an approximate one) where torch draws with `torch.randn` and
    `torch.rand`. Which number an element gets depends on the GPU when a draw has more elements than threads run on it
    at once: 108 * 2048 = 221184 on an A100, 132 * 2048 on an H100, 128 * 1536 on an RTX 4090, 40 * 1024 on a T4. Below
    that, every GPU draws the same. float64 on CUDA follows cuRAND's published rule and was not compared with a GPU.

    Args:
        seed: -2**63 to 2**64 - 1; negative ones count from 2**64, as in torch. None: torch's default seed.
        device: "cpu" or "cuda" (also "cuda:0", "gpu"): whose stream, not where the result lies.
        multiprocessors: of the GPU whose draws are wanted; the default is an A100's. `torch.cuda.
            get_device_properties(0).multi_processor_count`.
        max_threads_per_multiprocessor: of that GPU.

    Raises:
        InputError: unknown device, or a seed of more than 64 bits.
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
                "No GPU has these properties.",
                where=f"multiprocessors={multiprocessors}, {max_threads_per_multiprocessor=}",
                expected="at least 1 multiprocessor of 256 threads or more",
            )
        self._gpu = (multiprocessors, max_threads_per_multiprocessor)
        self._stream: CPUStream | CUDAStream | None = None
        self.manual_seed(DEFAULT_SEED if seed is None else seed)

    def __repr__(self) -> str:
        return f"TorchGenerator(seed={self.initial_seed()}, device={self.device!r})"

    # -- seeds and states ----------------------------------------------------------------------------------------

    def manual_seed(self, seed: int) -> TorchGenerator:
        """Start the stream of `seed`; returns the generator."""
        value = operator.index(seed)
        if not -(2**63) <= value < 2**64:
            raise InputError("A seed has 64 bits.", where=f"seed={seed}", expected="-2**63 <= seed < 2**64")
        value %= 2**64
        if isinstance(self._stream, CPUStream):
            self._stream.restart(value)
        else:
            self._stream = CPUStream(value) if self.device == "cpu" else CUDAStream(value, *self._gpu)
        return self

    def initial_seed(self) -> int:
        """The seed the stream started from, as torch reports it: 0 to 2**64 - 1."""
        return self._stream.seed

    def seed(self) -> int:
        """Start a stream that nobody can foretell; returns its seed."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self.initial_seed()

    def get_state(self) -> np.ndarray:
        """Where the stream is, as uint8: [5056] on the CPU, [16] on CUDA.

        The bytes are torch's own: `torch_generator.set_state(torch.from_numpy(ours.get_state()))` continues this stream
        there, and `ours.set_state(torch_generator.get_state().numpy())` continues that one here.
        """
        return np.frombuffer(self._stream.get_state(), dtype=np.uint8).copy()

    def set_state(self, state: object) -> TorchGenerator:
        """Continue where `get_state()` was called, here or in torch (uint8 array or CPU tensor); returns the generator.

        Raises:
            InputError: the bytes are no state of this device's generator.
        """
        self._stream.set_state(np.asarray(state, dtype=np.uint8).tobytes())
        return self

    # -- numbers -------------------------------------------------------------------------------------------------

    def randn(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """Standard normal numbers.

        Args:
            shape: of the result; () gives one number.
            dtype: "float32", "float64", "float16" or "bfloat16". Same seed, other dtype: other numbers, as in torch.

        Returns:
            An array of `shape`; bfloat16 as its bits in uint16, which `paddle.to_tensor` takes for bfloat16.
        """
        shape = as_shape(shape)
        return self._stream.randn(math.prod(shape), _checked(dtype)).reshape(shape)

    def rand(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """Uniform numbers in [0, 1); arguments and result are those of `randn`."""
        shape = as_shape(shape)
        return self._stream.rand(math.prod(shape), _checked(dtype)).reshape(shape)

    def exponential(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """Exponential numbers of rate 1, `tensor.exponential_()` in torch; CPU streams only."""
        shape = as_shape(shape)
        return self._on_cpu("exponential").exponential(math.prod(shape), _checked(dtype)).reshape(shape)

    def randint(self, low: int, high: int, shape: Sequence[int] | int) -> np.ndarray:
        """int64 numbers in [low, high) of `shape`; CPU streams only."""
        if not -(2**63) <= low < high < 2**63:
            raise InputError("randint has nothing to choose from.", where=f"[{low}, {high})", expected="low < high")
        shape = as_shape(shape)
        return self._on_cpu("randint").randint(low, high, math.prod(shape)).reshape(shape)

    def randperm(self, count: int) -> np.ndarray:
        """The numbers 0 to count - 1 in random order, [count] int64; CPU streams only."""
        return self._on_cpu("randperm").randperm(*as_shape(count))

    def multinomial(self, weights: object, count: int, replacement: bool = False) -> np.ndarray:
        """Category numbers, drawn with probabilities proportional to `weights`; CPU streams only.

        Args:
            weights: [categories] or [rows, categories], not negative, each row with a positive sum; float64 stays
                float64 and anything else is taken as float32.
            count: how many draws for each row.
            replacement: whether a category may come twice.

        Returns:
            [count] or [rows, count] int64.

        Raises:
            InputError: weights that are no weights, or more draws than categories to choose from.
        """
        weights = np.asarray(weights)
        weights = weights if weights.dtype == np.float64 else weights.astype(np.float32)
        _check_weights(weights, count, replacement)
        rows = weights.reshape(-1, weights.shape[-1])  # [rows, categories]
        stream = self._on_cpu("multinomial")
        if not replacement or count == 1:
            # The largest of p / q with q ~ Exp(1) is a draw from p, and the following ones are draws from what is left.
            q = stream.exponential(rows.size, str(rows.dtype)).reshape(rows.shape)
            drawn = np.argsort(-(rows / q), axis=-1, kind="stable")[:, :count]
        else:
            drawn = np.stack([_by_cumulative_sum(row, stream.rand(count, "float64")) for row in rows])
        return drawn.reshape(*weights.shape[:-1], count).astype(np.int64)

    def _on_cpu(self, what: str) -> CPUStream:
        if not isinstance(self._stream, CPUStream):
            raise InputError(
                f"`{what}` follows torch's CPU stream only.",
                where=repr(self),
                expected="randn or rand for a CUDA stream",
                remedy="draw it from a TorchGenerator(seed, device='cpu')",
            )
        return self._stream


def _device_kind(device: object) -> str:
    name = str(device)  # torch.device and paddle's places print their names
    if re.fullmatch(r"(Place\()?(cuda|gpu)(:\d+)?\)?", name):
        return "cuda"
    if re.fullmatch(r"(Place\()?cpu(:0)?\)?", name):
        return "cpu"
    raise InputError("torch's stream of this device is not known here.", where=f"{device=}", expected="'cpu' or 'cuda'")


def _checked(dtype: str) -> str:
    if dtype not in DTYPES:
        raise InputError("Random numbers have a floating dtype.", where=f"dtype={dtype!r}", expected=", ".join(DTYPES))
    return dtype


def _check_weights(weights: np.ndarray, count: int, replacement: bool) -> None:
    if weights.ndim not in (1, 2) or weights.size == 0:
        raise InputError("multinomial takes one or more rows of weights.", where=f"shape {weights.shape}")
    problems = []
    if not np.isfinite(weights).all() or (weights < 0).any():
        problems.append("there are negative, infinite or undefined weights")
    elif not (weights.sum(axis=-1) > 0).all():
        problems.append("a row has no positive weight")
    if count < 1 or (not replacement and count > weights.shape[-1]):
        problems.append(f"{count} draws from {weights.shape[-1]} categories, {replacement=}")
    if problems:
        raise InputError("multinomial cannot draw from these weights.", where="weights, count", problems=problems)


def _by_cumulative_sum(weights: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """[count] category numbers: where each of the uniform numbers falls in the cumulative distribution."""
    cumulative = np.cumsum(weights, dtype=weights.dtype)  # [categories], one addition after the other, as in torch
    cumulative /= cumulative[-1]
    cumulative[-1] = 1.0
    return np.searchsorted(cumulative.astype(np.float64), uniform, side="left")
