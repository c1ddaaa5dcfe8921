"""A generator that replays recorded arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.tensors import cast_floating
from ppdiffusers.core.torch_random.shapes import as_shape


class RecordedNoise:
    """Replay `arrays` in order, to repeat a run of another framework exactly.

    Use it in place of a generator. Each draw (normal, uniform or integer) returns the next array. Shapes must match;
    values are cast to the requested dtype.

    Args:
        arrays: anything that `numpy.asarray` accepts: numpy arrays, CPU tensors of any framework, nested lists.
            uint16 arrays are bfloat16 bits.
    """

    device = "cpu"

    def __init__(self, arrays: Iterable[object]):
        if isinstance(arrays, np.ndarray):
            raise InputError(
                "RecordedNoise takes a list of arrays, one per draw, but got a single array.",
                where=f"array of shape {arrays.shape}",
                remedy="use RecordedNoise([array]), or RecordedNoise(list(array)) if the first axis counts the draws",
            )
        self._arrays = [_as_array(array) for array in arrays]
        self.position = 0

    @property
    def remaining(self) -> int:
        """The number of arrays that are left; 0 after a run with the draws of the recorded run."""
        return len(self._arrays) - self.position

    def rewind(self) -> RecordedNoise:
        """Restart from the first array and return the generator."""
        self.position = 0
        return self

    def _next(self, shape: Sequence[int] | int) -> np.ndarray:
        requested = as_shape(shape)
        if self.remaining == 0:
            raise InputError(
                f"Draw {self.position} needs more noise than was recorded.",
                where="RecordedNoise",
                problems=[f"draw {self.position}: requested shape {requested}, the recording has no array left"],
                expected=f"at most {len(self._arrays)} draws",
                remedy="record every draw of the other run; use the same steps, batch size and scheduler",
            )
        array = self._arrays[self.position]
        if array.shape != requested:
            raise InputError(
                f"Draw {self.position} does not match the recording.",
                where="RecordedNoise",
                problems=[f"draw {self.position}: requested shape {requested}, recorded shape {array.shape}"],
                expected="the shapes of the recorded run, in the same order",
                remedy="compare the order of draws and the settings (size, batch, steps, scheduler) of both runs",
            )
        self.position += 1
        return array

    def randn(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """Return the next recorded array in the numpy storage dtype of `dtype` (bfloat16 as uint16 bits)."""
        array = self._next(shape)
        source = "bfloat16" if array.dtype == np.uint16 else str(array.dtype)
        return array if source == dtype else cast_floating(array, source, dtype)

    rand = exponential = randn

    def randint(self, low: int, high: int, shape: Sequence[int] | int) -> np.ndarray:
        """Return the next recorded array as int64; `low` and `high` are ignored."""
        return self._next(shape).astype(np.int64)

    def randperm(self, count: int) -> np.ndarray:
        """Return the next recorded array as int64, [count]."""
        return self._next(count).astype(np.int64)


def _as_array(value: Any) -> np.ndarray:
    """Convert to a numpy array; bfloat16 tensors are first cast to float32, as numpy has no bfloat16."""
    if str(getattr(value, "dtype", "")).endswith("bfloat16"):
        value = value.astype("float32") if hasattr(value, "astype") else value.float()  # Paddle, torch
    return np.asarray(value)
