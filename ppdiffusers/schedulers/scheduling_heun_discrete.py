"""Heun's method in the noise level (Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithm 1)."""

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
    downcast,
    limit_x0,
    to_x0_exploding,
    upcast,
)
from ppdiffusers.schedulers.common.sigmas import check_custom_timesteps, check_sigma_spacing, timesteps_and_sigmas
from ppdiffusers.schedulers.common.spacing import SPACINGS, check_exclusive, check_num_steps, spaced_timesteps
from ppdiffusers.schedulers.common.stepping import VarianceExploding
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import HeunStages, derivative, interleave
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator

HeunDiscreteSchedulerOutput = SchedulerOutput


class HeunDiscreteScheduler(HeunStages, VarianceExploding, VariancePreserving, SchedulerMixin):
    """Heun's method: two network calls per step, one in the last.

    Args:
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas: see `sigmas`.
        clip_sample, clip_sample_range: limits of x_0.
        See `DDPMScheduler` for the other arguments.
    """

    order = 2

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        clip_sample: bool | None = False,
        clip_sample_range: float = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ):
        check_sigma_spacing(self.config)
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        check_choice("timestep_spacing", timestep_spacing, SPACINGS)
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self._set_schedule(spaced_timesteps(timestep_spacing, num_train_timesteps, num_train_timesteps, steps_offset))

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        num_train_timesteps: int | None = None,
        timesteps: Sequence[float] | None = None,
    ) -> None:
        """Set the number of inference steps, or custom timesteps."""
        check_exclusive(num_inference_steps=num_inference_steps, timesteps=timesteps)
        check_custom_timesteps(self.config, timesteps)
        config = self.config
        if timesteps is None:
            t_max = num_train_timesteps or config.num_train_timesteps
            n = check_num_steps(num_inference_steps, t_max)
            steps = spaced_timesteps(config.timestep_spacing, t_max, n, config.steps_offset)
        else:
            steps = np.asarray(timesteps)
        self._set_schedule(steps)

    def _set_schedule(self, timesteps: np.ndarray) -> None:
        self.num_inference_steps = len(timesteps)
        steps, sigmas = timesteps_and_sigmas(self.config, self.noise_schedule, timesteps.astype(np.float32))
        self.sigmas = np.append(interleave(sigmas, sigmas), 0).astype(np.float32)
        self.timesteps = interleave(steps, steps).astype(np.float32)
        self._reset_stages()
        self._reset_index()

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        return_dict: bool = True,
        generator: Generator = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Take an Euler step to the next noise level; the second call there repeats it with the trapezoidal rule.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            generator: ignored; this scheduler adds no noise.
        """
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        sigma, x = float(self.host_sigmas[i]), upcast(sample)

        x0 = limit_x0(self.config, to_x0_exploding(self.config.prediction_type, upcast(model_output), x, sigma))
        slope = derivative(x, x0, sigma)
        if self.state_in_first_order:
            prev = self._predict(x, slope, float(self.host_sigmas[i + 1]) - sigma)
        else:
            prev = self._correct(slope)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))
