"""Euler's method in the noise level (Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import to_array
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving, linspace, per_sample
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    check_shapes,
    combine,
    downcast,
    to_x0_exploding,
    upcast,
)
from ppdiffusers.schedulers.common.sigmas import (
    append_final_sigma,
    check_custom_timesteps,
    check_sigma_spacing,
    respaced_sigmas,
    sigma_to_t,
    timesteps_and_sigmas,
)
from ppdiffusers.schedulers.common.spacing import SPACINGS, check_exclusive, check_num_steps, spaced_timesteps
from ppdiffusers.schedulers.common.stepping import VarianceExploding, check_not_loop_index
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import churn, euler_step
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

EulerDiscreteSchedulerOutput = SchedulerOutput


class EulerDiscreteScheduler(VarianceExploding, VariancePreserving, SchedulerMixin):
    """Euler's method.

    Args:
        interpolation_type: "linear" interpolates sigmas between training timesteps; "log_linear" spaces them evenly in
            log(sigma) over the whole range.
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, sigma_min, sigma_max: see `sigmas`.
        timestep_type: "discrete", or "continuous": timesteps are 0.25 log(sigma) (with "v_prediction").
        final_sigmas_type: the noise level after the last step, "zero" or "sigma_min".
        See `DDPMScheduler` for the other arguments.
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
        interpolation_type: str = "linear",
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        timestep_spacing: str = "linspace",
        timestep_type: str = "discrete",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        final_sigmas_type: str = "zero",
    ):
        check_sigma_spacing(self.config)
        check_choice("prediction_type", prediction_type, (*PREDICTION_TYPES, "original_sample"))
        check_choice("interpolation_type", interpolation_type, ("linear", "log_linear"))
        check_choice("timestep_spacing", timestep_spacing, SPACINGS)
        check_choice("timestep_type", timestep_type, ("discrete", "continuous"))
        check_choice("final_sigmas_type", final_sigmas_type, ("zero", "sigma_min"))
        self.noise_schedule = NoiseSchedule.from_config(self.config, finite_sigmas=True)
        self.sigmas = append_final_sigma(self.noise_schedule.sigmas[::-1])
        self.timesteps = self._timesteps(np.arange(num_train_timesteps)[::-1])
        self._reset_index()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        timesteps: Sequence[float] | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        """Set the number of inference steps, custom timesteps, or custom sigmas (the last one ends the run)."""
        config, schedule = self.config, self.noise_schedule
        check_exclusive(num_inference_steps=num_inference_steps, timesteps=timesteps, sigmas=sigmas)
        check_custom_timesteps(config, timesteps)
        if timesteps is not None and self._continuous:
            raise InputError("Custom timesteps cannot be used with timestep_type='continuous' and v_prediction.")
        if sigmas is not None:
            self.sigmas = np.asarray(sigmas, dtype=np.float32)
            steps = sigma_to_t(self.host_sigmas[:-1], schedule.log_sigmas)
        else:
            steps, levels = self._spaced(num_inference_steps, timesteps)
            self.sigmas = append_final_sigma(
                levels, schedule.sigmas[0] if config.final_sigmas_type == "sigma_min" else 0.0
            )
        self.timesteps = self._timesteps(steps)
        self.num_inference_steps = len(steps)
        self._reset_index()

    def _spaced(self, n: int | None, timesteps: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
        config, schedule = self.config, self.noise_schedule
        if timesteps is not None:
            steps = np.asarray(timesteps, dtype=np.float32)
        else:
            n = check_num_steps(n, config.num_train_timesteps)
            steps = spaced_timesteps(config.timestep_spacing, config.num_train_timesteps, n, config.steps_offset)
            steps = steps.astype(np.float32)
        if config.interpolation_type == "linear":
            return timesteps_and_sigmas(config, schedule, steps)
        levels = np.exp(linspace(schedule.log_sigmas[-1], schedule.log_sigmas[0], len(steps) + 1))
        respaced = respaced_sigmas(config, len(steps), levels[0], levels[-1])
        return (steps, levels) if respaced is None else (sigma_to_t(respaced, schedule.log_sigmas), respaced)

    @property
    def _continuous(self) -> bool:
        return self.config.timestep_type == "continuous" and self.config.prediction_type == "v_prediction"

    def _timesteps(self, steps: np.ndarray) -> np.ndarray:
        return 0.25 * np.log(self.host_sigmas[:-1]) if self._continuous else steps.astype(np.float32)

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = float("inf"),
        s_noise: float = 1.0,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Compute x + (sigma_next - sigma_hat) dx/dsigma, after adding noise up to sigma_hat (churn).

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            s_churn, s_tmin, s_tmax, s_noise: noise of algorithm 2; none is added by default.
            generator: source of the noise.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        check_not_loop_index(timestep)
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        sigma, sigma_next = float(self.host_sigmas[i]), float(self.host_sigmas[i + 1])
        x, output = upcast(sample), upcast(model_output)

        gamma = churn(s_churn, s_tmin, s_tmax, sigma, len(self.host_sigmas) - 1)
        sigma_hat = sigma * (gamma + 1)
        if gamma > 0:
            noise = upcast(randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype))
            x = combine((1, x), (s_noise * (sigma_hat**2 - sigma**2) ** 0.5, noise))
        kind = self.config.prediction_type
        x0 = to_x0_exploding(kind, output, x, sigma if kind == "v_prediction" else sigma_hat)
        prev = euler_step(x, x0, sigma_hat, sigma_next)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, model_output), x0)

    def get_velocity(self, sample: paddle.Tensor, noise: paddle.Tensor, timesteps: object) -> paddle.Tensor:
        """Compute v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0 with alpha_bar at the position in the schedule.

        Args:
            sample: x_0, [B, C, ...].
            noise: eps, [B, C, ...].
            timesteps: one element of `self.timesteps` per sample, [B].
        """
        steps = to_array(timesteps).reshape(-1)  # [B]
        for t in steps:
            check_not_loop_index(t)
        a = self.host_alphas_cumprod[[self.index_for_timestep(t) for t in steps]]  # [B]
        return per_sample(np.sqrt(a), sample) * noise - per_sample(np.sqrt(1 - a), sample) * sample
