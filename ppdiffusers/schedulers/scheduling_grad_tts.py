"""Reverse diffusion from a mean that depends on the text: Grad-TTS.

Popov et al. 2021, https://arxiv.org/abs/2105.06337: dX = (1/2 (mu - X) - s(X, mu, t)) beta(t) dt + sqrt(beta(t)) dW
(eq. 8), or without noise dX = 1/2 (mu - X - s(X, mu, t)) beta(t) dt (eq. 10), with beta(t) linear in t from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.schedulers.common.prediction import check_shapes, downcast, upcast
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.common.stepping import StepIndex, check_not_loop_index
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.dummy_inputs import normal
from ppdiffusers.utils.torch_utils import Generator, randn_tensor


class GradTTSScheduler(StepIndex, SchedulerMixin):
    """Euler steps of the reverse SDE or of its probability flow ODE, each at the middle of its interval of time.

    Args:
        beta_min, beta_max: noise at the times 0 and 1.

    Raises:
        ConfigError: not 0 < beta_min <= beta_max.
    """

    @register_to_config
    def __init__(self, beta_min: float = 0.05, beta_max: float = 20.0):
        if not 0 < beta_min <= beta_max:
            raise ConfigError(
                "This GradTTSScheduler cannot be created.",
                problems=[f"beta_min={beta_min}, beta_max={beta_max}"],
                expected="0 < beta_min <= beta_max",
            )
        self.timesteps = None

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the times 1 - (i + 0.5) / n, float32 [n]."""
        count = check_num_steps(num_inference_steps)
        self.timesteps = (1 - (np.arange(count) + 0.5) / count).astype(np.float32)
        self.num_inference_steps = count
        self._reset_index()

    def beta(self, timestep: float) -> float:
        """Return the noise schedule beta(t)."""
        return self.config.beta_min + (self.config.beta_max - self.config.beta_min) * timestep

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        mu: paddle.Tensor | None = None,
        mask: paddle.Tensor | None = None,
        stochastic: bool = False,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Compute the sample at the next time.

        Args:
            model_output: the predicted score, [B, M, L].
            timestep: an element of `timesteps`.
            sample: the current sample, [B, M, L].
            mu: the mean, [B, M, L]; by default 0.
            mask: 1 for frames, 0 for padding, [B, 1, L]; by default no padding.
            stochastic: solve the SDE, with noise at each step, in place of the ODE.
            generator: source of the noise.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        self._require_timesteps()
        check_not_loop_index(timestep)
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        variance = self.beta(float(self.host_timesteps[i])) / len(self.host_timesteps)  # beta(t) h
        x, score = upcast(sample), upcast(model_output)
        mean = paddle.zeros_like(x) if mu is None else upcast(mu)
        if stochastic:
            noise = upcast(randn_tensor(sample.shape, generator=generator, dtype=sample.dtype))
            change = (0.5 * (mean - x) - score) * variance + noise * variance**0.5
        else:
            change = 0.5 * (mean - x - score) * variance
        prev = x - change
        if mask is not None:
            prev = prev * upcast(mask)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample))

    def __len__(self) -> int:
        return len(self.host_timesteps)

    @staticmethod
    def reference_outputs(
        scheduler: Any, rng: np.random.Generator, tensor: Callable[[np.ndarray], Any], noise: Mapping[str, Any]
    ) -> dict[str, Any]:
        scheduler.set_timesteps(4)
        sample, score, mu = (tensor(normal(rng, 2, 8, 12)) for _ in range(3))  # [B, M, L]
        step = scheduler.step(score, scheduler.timesteps[0], sample, mu, stochastic=True, **noise)
        return {"timesteps": scheduler.timesteps, "prev_sample": step.prev_sample}
