"""Euler-Maruyama sampling of the variance-preserving SDE (Song et al. 2021, https://arxiv.org/abs/2011.13456)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.arrays import to_array
from ppdiffusers.schedulers.common.noise_schedule import linspace, per_sample
from ppdiffusers.schedulers.common.prediction import check_shapes, downcast, upcast
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin
from ppdiffusers.utils.dummy_inputs import normal
from ppdiffusers.utils.torch_utils import Generator, randn_tensor


class ScoreSdeVpScheduler(SchedulerMixin):
    """Reverse-time VP SDE: beta(t) = beta_min + t (beta_max - beta_min), t from 1 to `sampling_eps`."""

    init_noise_sigma = 1.0

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 2000,
        beta_min: float = 0.1,
        beta_max: float = 20,
        sampling_eps: float = 1e-3,
    ):
        self.sigmas = None
        self.discrete_sigmas = None
        self.timesteps = None

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the times, from 1 down to `sampling_eps`, float32 [n]."""
        self.timesteps = linspace(1, self.config.sampling_eps, check_num_steps(num_inference_steps))
        self.num_inference_steps = len(self.host_timesteps)

    def step_pred(
        self, score: paddle.Tensor, x: paddle.Tensor, t: float | paddle.Tensor, generator: Generator = None
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Compute x - [f - g^2 score] / n + g z / sqrt(n) (eq. 46 and 47); return it with and without the noise z.

        Args:
            score: the network's prediction of the noise, [B, C, ...]; the score is -score / std(t).
            x: the sample, [B, C, ...].
            t: the time, a number or [B].
            generator: source of z.
        """
        self._require_timesteps()
        check_shapes(score, x)
        low, high = self.config.beta_min, self.config.beta_max
        times = to_array(t).astype(np.float64).reshape(-1)  # [B or 1]
        log_mean = times**2 * (-0.25 * (high - low)) - times * (0.5 * low)  # eq. 33
        std = np.sqrt(-np.expm1(2 * log_mean))
        beta = low + times * (high - low)
        dt = -1 / check_num_steps(self.num_inference_steps)
        keep, push, spread = (
            float(factor[0]) if len(factor) == 1 else per_sample(factor.astype(np.float32), x)
            for factor in (1 - 0.5 * beta * dt, beta / std * dt, np.sqrt(beta * -dt))
        )
        mean = upcast(x) * keep + upcast(score) * push
        noise = upcast(randn_tensor(x.shape, generator=generator, dtype=x.dtype))
        return downcast(mean + noise * spread, x), downcast(mean, x)

    @staticmethod
    def reference_outputs(
        scheduler: Any, rng: np.random.Generator, tensor: Callable[[np.ndarray], Any], noise: Mapping[str, Any]
    ) -> dict[str, Any]:
        scheduler.set_timesteps(10)
        sample, score = (tensor(normal(rng, 2, 3, 8, 8)) for _ in range(2))  # [B, C, H, W]
        times = tensor(np.full(2, 0.7, dtype=np.float32))  # [B]
        sample, mean = scheduler.step_pred(score, sample, times, **noise)
        return {"timesteps": scheduler.timesteps, "sample": sample, "mean": mean}
