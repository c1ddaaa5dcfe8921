"""A generator that draws nothing: it plays back arrays that were recorded elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.tensors import cast_floating
from ppdiffusers.core.torch_random.shapes import as_shape


class RecordedNoise:
    """Plays back `arrays` in their order, so that a run of any other framework can be repeated exactly.

    It stands wherever a generator does. Each draw takes the next array, whatever is drawn (normal, uniform, integer
    numbers): the recording says what the numbers were. Shapes must agree; dtypes are cast to what is asked.

    Args:
        arrays: anything `numpy.asarray` takes: numpy arrays, CPU tensors of any framework, nested lists. Arrays of
            uint16 are bfloat16 bits, as everywhere in this package.
    """

    device = "cpu"

    def __init__(self, arrays: Iterable[object]):
        if isinstance(arrays, np.ndarray):
            raise InputError(
                "RecordedNoise takes a list of arrays, one for each draw, and was given one array.",
                where=f"array of shape {arrays.shape}",
                remedy="RecordedNoise([array]), or RecordedNoise(list(array)) if its first axis counts the draws",
            )
        self._arrays = [_as_array(array) for array in arrays]
        self.position = 0

    @property
    def remaining(self) -> int:
        """How many arrays were not asked for yet; 0 after a run that drew what the recorded one drew."""
        return len(self._arrays) - self.position

    def rewind(self) -> RecordedNoise:
        """Start again from the first array; returns the generator."""
        self.position = 0
        return self

    def _next(self, shape: Sequence[int] | int) -> np.ndarray:
        asked = as_shape(shape)
        if self.remaining == 0:
            raise InputError(
                f"Draw {self.position} asks for more noise than was recorded.",
                where="RecordedNoise",
                problems=[f"draw {self.position}: shape {asked} is asked, and the recording ends before it"],
                expected=f"at most {len(self._arrays)} draws",
                remedy="record every draw of the other run, and run with the same steps, batch and scheduler",
            )
        array = self._arrays[self.position]
        if array.shape != asked:
            raise InputError(
                f"Draw {self.position} does not fit the recording.",
                where="RecordedNoise",
                problems=[f"draw {self.position}: shape {asked} is asked, and {array.shape} was recorded"],
                expected="the shapes of the recorded run, in its order",
                remedy="compare the order of draws and the settings (size, batch, steps, scheduler) of both runs",
            )
        self.position += 1
        return array

    def randn(self, shape: Sequence[int] | int, dtype: str = "float32") -> np.ndarray:
        """The next recorded array, in the numpy carrier of `dtype` (bfloat16 as uint16 bits)."""
        array = self._next(shape)
        source = "bfloat16" if array.dtype == np.uint16 else str(array.dtype)
        return array if source == dtype else cast_floating(array, source, dtype)

    rand = exponential = randn

    def randint(self, low: int, high: int, shape: Sequence[int] | int) -> np.ndarray:
        """The next recorded array as int64; `low` and `high` are not looked at."""
        return self._next(shape).astype(np.int64)

    def randperm(self, count: int) -> np.ndarray:
        """The next recorded array as int64, of shape [count]."""
        return self._next(count).astype(np.int64)


def _as_array(value: object) -> np.ndarray:
    """numpy has no bfloat16: tensors of it are widened by their own framework."""
    if str(getattr(value, "dtype", "")).endswith("bfloat16"):
        value = value.astype("float32") if hasattr(value, "astype") else value.float()  # Paddle, torch
    return np.asarray(value)
