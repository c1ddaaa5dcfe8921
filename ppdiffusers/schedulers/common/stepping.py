"""The position in the schedule: `step_index` counts from `begin_index` or from the first timestep seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import ConfigMixin
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import Sigmas, Timesteps, to_array
from ppdiffusers.schedulers.common.noise_schedule import per_sample
from ppdiffusers.schedulers.common.types import Timestep


def as_scalar(timestep: Timestep) -> float | int:
    """Convert a number, a numpy scalar or a tensor with one element to a Python number."""
    return timestep if isinstance(timestep, int | float) else timestep.item()


def check_not_loop_index(timestep: Timestep) -> None:
    """Check that a real-valued timestep is not an integer, which is most likely the index of the loop.

    Raises:
        InputError: `timestep` is an integer.
    """
    integer = isinstance(timestep, int | np.integer) or (
        isinstance(timestep, paddle.Tensor | np.ndarray) and "int" in str(timestep.dtype)
    )
    if integer:
        raise InputError(
            "This scheduler has real-valued timesteps but got an integer, which is probably the index of the loop.",
            where=f"timestep={timestep!r}",
            expected="an element of scheduler.timesteps",
            remedy="for t in scheduler.timesteps: ... scheduler.step(model_output, t, sample)",
        )


class StepIndex(Timesteps, ConfigMixin):
    """Mixin for schedulers whose `step` walks through `timesteps` by an index."""

    _step_index: int | None = None
    _begin_index: int | None = None

    @property
    def step_index(self) -> int | None:
        """The index of the next step; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """The index at which the loop starts, if a pipeline set it (image to image starts late)."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Set the index at which the loop starts, so that `step` does not search for its first timestep."""
        self._begin_index = begin_index

    def index_for_timestep(self, timestep: Timestep, schedule_timesteps: object = None) -> int:
        """Return the index of a timestep; the second one of repeated timesteps, so that no noise level is skipped.

        Raises:
            InputError: the timestep is not in the schedule.
        """
        found = self._find_timestep(timestep, schedule_timesteps)
        if found is None:
            raise InputError(
                f"The timestep {as_scalar(timestep)} is not in the schedule.",
                where=f"{type(self).__name__}.timesteps",
                expected="an element of scheduler.timesteps",
                remedy="call scheduler.set_timesteps(num_inference_steps) and iterate over scheduler.timesteps",
            )
        return found

    def _find_timestep(self, timestep: Timestep, schedule_timesteps: object = None) -> int | None:
        schedule = self.host_timesteps if schedule_timesteps is None else to_array(schedule_timesteps)
        found = np.nonzero(schedule == schedule.dtype.type(as_scalar(timestep)))[0]
        return int(found[min(1, len(found) - 1)]) if len(found) else None

    def _current_index(self, timestep: Timestep | None) -> int:
        """Return the index of the current step; the first call of a run finds it by its timestep."""
        if self._step_index is None:
            self._step_index = self._first_index(timestep) if self._begin_index is None else self._begin_index
        return self._step_index

    def _begin_step(self, timestep: Timestep) -> int:
        """Return the index of the current step.

        Raises:
            InputError: the schedule has ended.
        """
        index = self._current_index(timestep)
        if index >= len(self.host_timesteps):
            raise InputError(
                f"All {len(self.host_timesteps)} steps of the schedule were taken.",
                remedy="call scheduler.set_timesteps(num_inference_steps) before another run",
            )
        return index

    def _first_index(self, timestep: Timestep | None) -> int:
        if timestep is None:
            raise InputError(
                "The first call of a run needs a timestep.",
                where=type(self).__name__,
                remedy="pass an element of scheduler.timesteps",
            )
        # Rounding may repeat the first timestep: a run from there starts at 0, or it would overrun the schedule.
        return 0 if as_scalar(timestep) == self.host_timesteps[0] else self.index_for_timestep(timestep)

    def _reset_index(self) -> None:
        self._step_index = self._begin_index = None

    def _indices_for(self, timesteps: object) -> list[int]:
        """Return the schedule index of each sample for timesteps [B], for `add_noise`."""
        timesteps = to_array(timesteps).reshape(-1)
        if self._begin_index is None:
            return [self.index_for_timestep(t) for t in timesteps]
        # A pipeline with a begin index noises its first sample there; inpainting calls again inside the loop.
        index = self._begin_index if self._step_index is None else self._step_index
        return [index] * len(timesteps)


class VarianceExploding(Sigmas, StepIndex):
    """Mixin for samplers of dx/dsigma with x = x_0 + sigma eps and decreasing `sigmas` [n + 1]."""

    @property
    def init_noise_sigma(self) -> Any:
        """Standard deviation of the initial noise, a tensor without axes."""
        largest = float(self.host_sigmas.max())
        if self.config.timestep_spacing not in ("linspace", "trailing"):
            largest = (largest**2 + 1) ** 0.5
        return paddle.to_tensor(largest, dtype="float32")

    def scale_model_input(self, sample: paddle.Tensor, timestep: Timestep | None = None) -> paddle.Tensor:
        """Return sample / sqrt(sigma^2 + 1), the network input of unit variance."""
        sigma = float(self.host_sigmas[self._current_index(timestep)])
        return sample * (1 / (sigma**2 + 1) ** 0.5)

    def add_noise(self, original_samples: paddle.Tensor, noise: paddle.Tensor, timesteps: object) -> paddle.Tensor:
        """Compute x_0 + sigma_t eps.

        Args:
            original_samples: x_0, [B, C, ...].
            noise: eps, [B, C, ...].
            timesteps: one element of `self.timesteps` per sample, [B].
        """
        sigma = per_sample(self.host_sigmas[self._indices_for(timesteps)], original_samples)
        return original_samples + noise * sigma
