"""Where in the schedule a sampler stands: `step_index` counts from `begin_index` or the first timestep seen."""

from __future__ import annotations

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.noise_schedule import per_image, to_array


def as_scalar(timestep: object) -> float | int:
    """A python number of a number, a numpy scalar or a tensor with one element."""
    return timestep if isinstance(timestep, int | float) else timestep.item()


def refuse_integer(timestep: object) -> None:
    """Samplers with real-valued timesteps: an integer is most likely an index of the loop.

    Raises:
        InputError: `timestep` is an integer.
    """
    integer = isinstance(timestep, int | np.integer) or (
        isinstance(timestep, paddle.Tensor | np.ndarray) and "int" in str(timestep.dtype)
    )
    if integer:
        raise InputError(
            "This scheduler's timesteps are real numbers, and an integer was passed: is it the index of the loop?",
            where=f"timestep={timestep!r}",
            expected="an element of scheduler.timesteps",
            remedy="for t in scheduler.timesteps: ... scheduler.step(model_output, t, sample)",
        )


class StepIndex:
    """Mixin for schedulers whose `step` walks through `timesteps` by an index."""

    timesteps: np.ndarray
    _step_index: int | None = None
    _begin_index: int | None = None

    @property
    def step_index(self) -> int | None:
        """How many steps were taken since the schedule's beginning; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """Where the loop starts, if a pipeline set it (image to image starts late)."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Say where the loop starts, so that `step` need not look its first timestep up."""
        self._begin_index = begin_index

    def index_for_timestep(self, timestep: object, schedule_timesteps: np.ndarray | None = None) -> int:
        """Index of a timestep; of repeated ones the second, so that a late start skips no noise level.

        Raises:
            InputError: it is not in the schedule.
        """
        schedule = self.timesteps if schedule_timesteps is None else to_array(schedule_timesteps)
        found = np.nonzero(schedule == schedule.dtype.type(as_scalar(timestep)))[0]
        if len(found) == 0:
            raise InputError(
                f"The timestep {as_scalar(timestep)} is not in the schedule.",
                where=f"{type(self).__name__}.timesteps",
                expected="an element of scheduler.timesteps",
                remedy="call scheduler.set_timesteps(num_inference_steps) and iterate over scheduler.timesteps",
            )
        return int(found[1] if len(found) > 1 else found[0])

    def _begin(self, timestep: object) -> int:
        """The index of the step at hand, found now if it is the first."""
        if self._step_index is None:
            self._step_index = self._first_index(timestep) if self._begin_index is None else self._begin_index
        return self._step_index

    def _first_index(self, timestep: object) -> int:
        # Rounding may repeat the first timestep: a run that starts there starts at 0, or it would end too late.
        return 0 if as_scalar(timestep) == self.timesteps[0] else self.index_for_timestep(timestep)

    def _check_index(self) -> None:
        """Raises:
        InputError: the schedule has ended.
        """
        if self._step_index >= len(self.timesteps):
            raise InputError(
                f"All {len(self.timesteps)} steps of the schedule were taken.",
                remedy="call scheduler.set_timesteps(num_inference_steps) before another run",
            )

    def _reset_index(self) -> None:
        self._step_index = self._begin_index = None

    def _indices_for(self, timesteps: object) -> list[int]:
        """The schedule's index for each image of a batch of timesteps [B], for `add_noise`."""
        timesteps = to_array(timesteps).reshape(-1)
        if self._begin_index is None:
            return [self.index_for_timestep(t) for t in timesteps]
        # A pipeline that set where it begins noises its first sample there; inpainting comes back in the loop.
        at = self._begin_index if self._step_index is None else self._step_index
        return [at] * len(timesteps)


class VarianceExploding(StepIndex):
    """Mixin for samplers of dx/dsigma with x = x_0 + sigma eps and `sigmas` [n + 1] that fall with the steps."""

    sigmas: np.ndarray

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the first sample."""
        largest = float(self.sigmas.max())
        if self.config.timestep_spacing in ("linspace", "trailing"):
            return largest
        return (largest**2 + 1) ** 0.5

    def scale_model_input(self, sample: paddle.Tensor, timestep: object) -> paddle.Tensor:
        """sample / sqrt(sigma^2 + 1): of unit variance, as the network was trained."""
        sigma = float(self.sigmas[self._begin(timestep)])
        return sample * (1 / (sigma**2 + 1) ** 0.5)

    def add_noise(self, original_samples: paddle.Tensor, noise: paddle.Tensor, timesteps: object) -> paddle.Tensor:
        """x_0 + sigma_t eps, one timestep of the schedule for each image."""
        sigma = per_image(self.sigmas[self._indices_for(timesteps)], original_samples)
        return original_samples + noise * sigma
