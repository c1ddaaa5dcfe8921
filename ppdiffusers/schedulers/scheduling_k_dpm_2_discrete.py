"""DPM-Solver-2 with geometric midpoints (Lu et al. 2022 in the form of Karras et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    check_shapes,
    combine,
    downcast,
    to_x0_exploding,
    upcast,
)
from ppdiffusers.schedulers.common.sigmas import check_sigma_spacing, sigma_to_t, timesteps_and_sigmas
from ppdiffusers.schedulers.common.spacing import SPACINGS, check_num_steps, spaced_timesteps
from ppdiffusers.schedulers.common.stepping import VarianceExploding
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import derivative, euler_step, interleave
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator

KDPM2DiscreteSchedulerOutput = SchedulerOutput


class MidpointStages(VarianceExploding, VariancePreserving, SchedulerMixin):
    """Mixin for a step in two calls: to a midpoint, then to the end with the derivative at the midpoint.

    Step k of n starts at the noise level `_start[k]`, has the midpoint `_middle[k]` and ends at `_end[k]`. `timesteps`
    and `sigmas` have an entry per call, 2n - 1 in all: the last step has no midpoint.
    """

    order = 2
    sample: paddle.Tensor | None = None

    def _init_midpoints(self) -> None:
        config = self.config
        check_sigma_spacing(config)
        check_choice("prediction_type", config.prediction_type, PREDICTION_TYPES)
        check_choice("timestep_spacing", config.timestep_spacing, SPACINGS)
        self.noise_schedule = NoiseSchedule.from_config(config)
        self._set_schedule(config.num_train_timesteps, config.num_train_timesteps)

    def set_timesteps(
        self, num_inference_steps: int, device: object = None, num_train_timesteps: int | None = None
    ) -> None:
        """Set the number of inference steps."""
        t_max = num_train_timesteps or self.config.num_train_timesteps
        self._set_schedule(check_num_steps(num_inference_steps, t_max), t_max)

    def _set_schedule(self, n: int, t_max: int) -> None:
        self.num_inference_steps = n
        config, schedule = self.config, self.noise_schedule
        spaced = spaced_timesteps(config.timestep_spacing, t_max, n, config.steps_offset).astype(np.float32)
        steps, sigmas = timesteps_and_sigmas(config, schedule, spaced)
        if config.use_karras_sigmas:
            steps = steps.round()
        self._start = sigmas.astype(np.float32)
        self._set_ends(np.append(self._start[1:], np.float32(0)))
        self.sigmas = np.append(interleave(self._start, self._start), [0, 0, 0]).astype(np.float32)
        self.timesteps = interleave(steps, sigma_to_t(self._middle[:-1], schedule.log_sigmas), first=True)
        self.timesteps = self.host_timesteps.astype(np.float32)
        self.sample = None
        self._reset_index()

    def _set_ends(self, sigmas_next: np.ndarray) -> None:
        self._end = sigmas_next
        self._middle = np.sqrt(self._start * sigmas_next)  # halfway in log(sigma)

    @property
    def state_in_first_order(self) -> bool:
        """Whether the next call of `step` goes to a midpoint."""
        return self.sample is None

    def scale_model_input(self, sample: paddle.Tensor, timestep: Timestep | None = None) -> paddle.Tensor:
        """Return sample / sqrt(sigma^2 + 1), with the sigma of the midpoint in the second call of a step."""
        i = self._current_index(timestep)
        sigma = float(self._start[i // 2] if self.state_in_first_order else self._middle[(i - 1) // 2])
        return sample * (1 / (sigma**2 + 1) ** 0.5)

    def _midpoint_step(
        self, model_output: paddle.Tensor, timestep: Timestep, sample: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor, int | None]:
        """Return the next sample, x_0, and the number of the step if this call ends it."""
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        x, output, kind = upcast(sample), upcast(model_output), self.config.prediction_type
        first = self.state_in_first_order
        k = i // 2 if first else (i - 1) // 2
        start, middle = float(self._start[k]), float(self._middle[k])
        if first:
            x0 = to_x0_exploding(kind, output, x, start)
            self.sample = x
            prev = euler_step(x, x0, start, middle)
        else:
            x0 = to_x0_exploding(kind, output, x, middle)
            prev = combine((1, self.sample), (float(self._end[k]) - start, derivative(x, x0, middle)))
            self.sample = None
        self._step_index = i + 1
        return prev, x0, None if first else k


class KDPM2DiscreteScheduler(MidpointStages, SchedulerMixin):
    """DPM-Solver-2 (`sample_dpm_2` in k-diffusion): two network calls per step, one in the last.

    Args:
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas: see `sigmas`.
        See `DDPMScheduler` for the other arguments.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ):
        self._init_midpoints()

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        return_dict: bool = True,
        generator: Generator = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """To the midpoint by Euler's method, or from the start to the next noise level by the midpoint's derivative.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            generator: ignored; this scheduler adds no noise.
        """
        prev, x0, _ = self._midpoint_step(model_output, timestep, sample)
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))
