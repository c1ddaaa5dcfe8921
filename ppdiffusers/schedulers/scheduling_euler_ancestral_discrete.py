"""Ancestral sampling with Euler's method: denoise below the next noise level, then add noise to reach it."""

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
    to_x0_exploding,
    upcast,
)
from ppdiffusers.schedulers.common.sigmas import ancestral_split, append_final_sigma, timesteps_and_sigmas
from ppdiffusers.schedulers.common.spacing import SPACINGS, check_num_steps, spaced_timesteps
from ppdiffusers.schedulers.common.stepping import VarianceExploding, check_not_loop_index
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import euler_step
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

EulerAncestralDiscreteSchedulerOutput = SchedulerOutput


class EulerAncestralDiscreteScheduler(VarianceExploding, VariancePreserving, SchedulerMixin):
    """Ancestral Euler method (`sample_euler_ancestral` in k-diffusion).

    See `DDPMScheduler` for the arguments.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
    ):
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        check_choice("timestep_spacing", timestep_spacing, SPACINGS)
        self.noise_schedule = NoiseSchedule.from_config(self.config, finite_sigmas=True)
        self.sigmas = append_final_sigma(self.noise_schedule.sigmas[::-1])
        self.timesteps = np.arange(num_train_timesteps, dtype=np.float32)[::-1]
        self._reset_index()

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps."""
        config = self.config
        n = check_num_steps(num_inference_steps, config.num_train_timesteps)
        steps = spaced_timesteps(config.timestep_spacing, config.num_train_timesteps, n, config.steps_offset)
        self.timesteps, sigmas = timesteps_and_sigmas({}, self.noise_schedule, steps.astype(np.float32))
        self.sigmas = append_final_sigma(sigmas)
        self.num_inference_steps = n
        self._reset_index()

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Step to sigma_down with Euler's method, then add noise of standard deviation sigma_up.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            generator: source of the noise, which is drawn in every step.
        """
        check_not_loop_index(timestep)
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        sigma = float(self.host_sigmas[i])
        sigma_down, sigma_up = ancestral_split(sigma, float(self.host_sigmas[i + 1]))
        x = upcast(sample)

        x0 = to_x0_exploding(self.config.prediction_type, upcast(model_output), x, sigma)
        noise = upcast(randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype))
        prev = euler_step(x, x0, sigma, sigma_down) + noise * sigma_up
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, model_output), x0)
