"""DDPM of unCLIP: few steps between given pairs of timesteps (Ramesh et al. 2022, arXiv 2204.06125)."""

from __future__ import annotations

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving
from ppdiffusers.schedulers.common.prediction import (
    check_choice,
    check_shapes,
    downcast,
    limit_x0,
    split_learned_variance,
    to_x0,
    upcast,
)
from ppdiffusers.schedulers.common.spacing import check_num_steps, spaced_timesteps, training_timesteps
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import learned_range, posterior_mean, variance_in_form
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

UnCLIPSchedulerOutput = SchedulerOutput


class UnCLIPScheduler(VariancePreserving, SchedulerMixin):
    """The DDPM of unCLIP's prior, decoder and upscaler.

    See `DDPMScheduler` for the arguments.
    """

    init_noise_sigma = 1.0

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        variance_type: str = "fixed_small_log",
        clip_sample: bool = True,
        clip_sample_range: float | None = 1.0,
        prediction_type: str = "epsilon",
        beta_schedule: str = "squaredcos_cap_v2",
    ):
        check_choice("beta_schedule", beta_schedule, ("squaredcos_cap_v2",))
        check_choice("prediction_type", prediction_type, ("epsilon", "sample"))
        check_choice("variance_type", variance_type, ("fixed_small_log", "learned_range"))
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self.variance_type = variance_type
        self.timesteps = training_timesteps(num_train_timesteps)

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps, spaced evenly from the last timestep to 0."""
        n = check_num_steps(num_inference_steps, self.config.num_train_timesteps)
        ratio = (self.config.num_train_timesteps - 1) / (n - 1) if n > 1 else 0
        steps = (np.arange(n) * ratio).round()[::-1] if n > 1 else spaced_timesteps("trailing", len(self), 1)
        self.timesteps = steps.astype(np.int64)
        self.num_inference_steps = n

    def _coefficients(self, t: float, prev_t: float) -> tuple[np.float32, np.float32, np.float32]:
        """Return alpha_bar at t and at the previous timestep, and beta of the step between them."""
        a, a_prev = self.alpha_bar(t), self.alpha_bar(prev_t, np.float32(1))
        return a, a_prev, self.host_betas[int(t)] if prev_t == t - 1 else np.float32(1) - a / a_prev

    def _get_variance(
        self,
        t: Timestep,
        prev_timestep: Timestep | None = None,
        predicted_variance: paddle.Tensor | None = None,
        variance_type: str | None = None,
    ) -> paddle.Tensor:
        """Return the variance of a step from t in the form of `variance_in_form`, [] or [B, C, ...]."""
        step = as_scalar(t)
        a, a_prev, beta = self._coefficients(step, step - 1 if prev_timestep is None else as_scalar(prev_timestep))
        posterior = max(float((1 - a_prev) / (1 - a) * beta), 1e-20)
        return variance_in_form(variance_type or self.variance_type, posterior, beta, predicted_variance)

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        prev_timestep: Timestep | None = None,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Sample x at `prev_timestep` from the posterior of DDPM between the two timesteps.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...], or [B, 2C, ...] with "learned_range".
            timestep: t.
            sample: x_t, [B, C, ...].
            prev_timestep: the next element of `timesteps`; t - 1 by default.
            generator: source of the noise.
        """
        t = as_scalar(timestep)
        prev_t = t - 1 if prev_timestep is None else as_scalar(prev_timestep)
        predicted = None
        if self.variance_type == "learned_range":
            model_output, predicted = split_learned_variance(model_output, sample)
        check_shapes(model_output, sample)
        a, a_prev, beta = self._coefficients(t, prev_t)
        alpha = np.float32(1) - beta  # rounded as in the original: at the first step of few, 1e-8 becomes 0
        x = upcast(sample)

        x0 = to_x0(self.config.prediction_type, upcast(model_output), x, a**0.5, (1 - a) ** 0.5)
        x0 = limit_x0(self.config, x0)
        prev = posterior_mean(x0, x, a, a_prev, alpha, beta)
        if t > 0:
            noise = upcast(randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype))
            smallest = float((1 - a_prev) / (1 - a) * beta)
            if self.variance_type == "fixed_small_log":
                prev = prev + noise * max(smallest, 1e-20) ** 0.5
            elif predicted is None:
                raise InputError(
                    "variance_type='learned_range' requires a network that predicts the variance.",
                    expected="a model_output with twice the sample's channels",
                )
            else:
                prev = prev + learned_range(upcast(predicted), smallest, float(beta)) * noise
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))
