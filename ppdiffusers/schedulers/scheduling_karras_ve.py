"""Stochastic sampling with Heun's correction (Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.schedulers.common.arrays import TensorAttribute
from ppdiffusers.schedulers.common.prediction import check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.sigmas import check_noise_levels
from ppdiffusers.schedulers.common.spacing import check_num_steps, training_timesteps
from ppdiffusers.schedulers.common.updates import churn
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin
from ppdiffusers.utils.dummy_inputs import normal
from ppdiffusers.utils.torch_utils import Generator, randn_tensor


@dataclass
class KarrasVeOutput(BaseOutput):
    """Output of a step.

    Args:
        prev_sample: the input of the next step, [B, C, ...].
        derivative: dx/dsigma, [B, C, ...].
        pred_original_sample: the predicted clean sample x_0, [B, C, ...].
    """

    prev_sample: paddle.Tensor
    derivative: paddle.Tensor
    pred_original_sample: paddle.Tensor | None = None


class KarrasVeScheduler(SchedulerMixin):
    """The stochastic sampler of Karras et al. for variance-exploding models.

    Args:
        sigma_min, sigma_max: the range of noise levels.
        s_noise: scale of the added noise.
        s_churn: amount of added noise.
        s_min, s_max: the range of noise levels at which noise is added.
    """

    order = 2
    schedule = TensorAttribute()
    host_schedule = schedule.host

    @register_to_config
    def __init__(
        self,
        sigma_min: float = 0.02,
        sigma_max: float = 100,
        s_noise: float = 1.007,
        s_churn: float = 80,
        s_min: float = 0.05,
        s_max: float = 50,
    ):
        check_noise_levels(sigma_min=sigma_min, sigma_max=sigma_max)
        self.init_noise_sigma = float(sigma_max)
        self.timesteps = None
        self.schedule = None

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps; `schedule[t]` is the (squared geometric) noise level of timestep t."""
        n, config = check_num_steps(num_inference_steps), self.config
        self.timesteps = training_timesteps(n)
        shares = self.host_timesteps.astype(np.float64) / max(n - 1, 1)
        ratio = config.sigma_min**2 / config.sigma_max**2
        self.schedule = (config.sigma_max**2 * ratio**shares).astype(np.float32)
        self.num_inference_steps = n

    def add_noise_to_input(
        self, sample: paddle.Tensor, sigma: float, generator: Generator = None
    ) -> tuple[paddle.Tensor, float]:
        """Add noise to raise the noise level from sigma to sigma_hat; return the sample, [B, C, ...], and sigma_hat."""
        self._require_timesteps()
        config, sigma, n = self.config, float(sigma), check_num_steps(self.num_inference_steps)
        gamma = churn(config.s_churn, config.s_min, config.s_max, sigma, n)
        noise = randn_tensor(sample.shape, generator=generator)
        sigma_hat = sigma + gamma * sigma
        std = config.s_noise * (sigma_hat**2 - sigma**2) ** 0.5
        return downcast(combine((1, upcast(sample)), (std, noise)), sample), sigma_hat

    def step(
        self,
        model_output: paddle.Tensor,
        sigma_hat: float,
        sigma_prev: float,
        sample_hat: paddle.Tensor,
        return_dict: bool = True,
    ) -> KarrasVeOutput | tuple[paddle.Tensor, ...]:
        """Take an Euler step from sigma_hat to sigma_prev.

        Args:
            model_output: (x_0 - x) / sigma = -dx/dsigma at sigma_hat, [B, C, ...].
            sigma_hat: the noise level of the sample.
            sigma_prev: the noise level after the step.
            sample_hat: the noised sample of `add_noise_to_input`, [B, C, ...].
            return_dict: return a `KarrasVeOutput`, otherwise a tuple.
        """
        check_shapes(model_output, sample_hat)
        x, sigma_hat, sigma_prev = upcast(sample_hat), float(sigma_hat), float(sigma_prev)
        output = upcast(model_output)
        x0 = combine((1, x), (sigma_hat, output))
        prev = combine((1, x), (sigma_hat - sigma_prev, output))
        return self._result(return_dict, prev, -output, x0, sample_hat)

    def step_correct(
        self,
        model_output: paddle.Tensor,
        sigma_hat: float,
        sigma_prev: float,
        sample_hat: paddle.Tensor,
        sample_prev: paddle.Tensor,
        derivative: paddle.Tensor,
        return_dict: bool = True,
    ) -> KarrasVeOutput | tuple[paddle.Tensor, ...]:
        """Repeat the step with the mean of the derivatives at both ends.

        Args:
            model_output: (x_0 - x) / sigma at sigma_prev, [B, C, ...].
            sigma_hat, sigma_prev: the noise levels before and after the step.
            sample_hat, sample_prev: the samples before and after the step, [B, C, ...].
            derivative: dx/dsigma at sigma_hat, [B, C, ...].
            return_dict: return a `KarrasVeOutput`, otherwise a tuple.
        """
        check_shapes(model_output, sample_prev)
        sigma_hat, sigma_prev = float(sigma_hat), float(sigma_prev)
        output = upcast(model_output)
        x0 = combine((1, upcast(sample_prev)), (sigma_prev, output))
        half = (sigma_prev - sigma_hat) / 2  # the derivative there is (x - x_0) / sigma_prev = -model_output
        prev = combine((1, upcast(sample_hat)), (half, upcast(derivative)), (-half, output))
        return self._result(return_dict, prev, derivative, x0, sample_prev)

    @staticmethod
    def _result(
        return_dict: bool, prev: paddle.Tensor, slope: paddle.Tensor, x0: paddle.Tensor, like: paddle.Tensor
    ) -> KarrasVeOutput | tuple[paddle.Tensor, ...]:
        prev, slope, x0 = downcast(prev, like), downcast(slope, like), downcast(x0, like)
        return KarrasVeOutput(prev, slope, x0) if return_dict else (prev, slope)

    @staticmethod
    def reference_outputs(
        scheduler: Any, rng: np.random.Generator, tensor: Callable[[np.ndarray], Any], noise: Mapping[str, Any]
    ) -> dict[str, Any]:
        scheduler.set_timesteps(10)
        sample, output, next_output = (tensor(normal(rng, 2, 3, 8, 8)) for _ in range(3))  # [B, C, H, W]
        sigma, sigma_prev = scheduler.schedule[6], scheduler.schedule[5]
        sample_hat, sigma_hat = scheduler.add_noise_to_input(sample, sigma, **noise)
        step = scheduler.step(output, sigma_hat, sigma_prev, sample_hat)
        corrected = scheduler.step_correct(
            next_output, sigma_hat, sigma_prev, sample_hat, step.prev_sample, step.derivative
        )
        return {"schedule": scheduler.schedule, "stepped": step.prev_sample, "corrected": corrected.prev_sample}
