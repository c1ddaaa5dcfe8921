"""A generator that draws nothing: it plays back arrays that were recorded elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.tensors import cast_floating, float32_to_bfloat16
from ppdiffusers.core.torch_random.shapes import as_shape


class RecordedNoise:
    """Plays back `arrays` in their order, so that a run of any other framework can be repeated exactly.

    It stands wherever a generator does. Each draw takes the next array, whatever is drawn (normal, uniform, integer
    numbers): the recording says what the numbers were. Shapes must agree; dtypes are cast to what is asked.

    Args:
        arrays: anything `numpy.asarray` takes: numpy arrays, CPU tensors of any framework, nested lists.
    """

    device = "cpu"

    def __init__(self, arrays: Iterable[object]):
        if isinstance(arrays, np.ndarray):
            raise InputError(
                "RecordedNoise takes a list of arrays, one for each draw, and was given one array.",
                where=f"array of shape {arrays.shape}",
                remedy="RecordedNoise([array]), or RecordedNoise(list(array)) if its first axis counts the draws",
            )
        self._arrays = [np.asarray(array) for array in arrays]
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
        if dtype == "bfloat16":
            return float32_to_bfloat16(array.astype(np.float32))
        return cast_floating(array, str(array.dtype), dtype)

    rand = exponential = randn

    def randint(self, low: int, high: int, shape: Sequence[int] | int) -> np.ndarray:
        """The next recorded array as int64; `low` and `high` are not looked at."""
        return self._next(shape).astype(np.int64)

    def randperm(self, count: int) -> np.ndarray:
        """The next recorded array as int64, of shape [count]."""
        return self._next(count).astype(np.int64)
