"""Predictor-corrector sampling of the variance-exploding SDE (Song et al. 2021, https://arxiv.org/abs/2011.13456)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.schedulers.common.arrays import Sigmas, TensorAttribute, to_array
from ppdiffusers.schedulers.common.noise_schedule import linspace, per_sample
from ppdiffusers.schedulers.common.prediction import check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.dummy_inputs import normal
from ppdiffusers.utils.torch_utils import Generator, randn_tensor


@dataclass
class SdeVeOutput(BaseOutput):
    """Output of a predictor step.

    Args:
        prev_sample: the input of the next step, [B, C, ...].
        prev_sample_mean: the same without the added noise, [B, C, ...].
    """

    prev_sample: paddle.Tensor
    prev_sample_mean: paddle.Tensor


class ScoreSdeVeScheduler(Sigmas, SchedulerMixin):
    """Reverse diffusion predictor and Langevin corrector.

    Args:
        snr: signal-to-noise ratio of a corrector step, which determines its size.
        sigma_min, sigma_max: the range of noise levels, geometric in the time t from 0 to 1.
        sampling_eps: the last time.
        correct_steps: number of corrector steps per predictor step.
    """

    discrete_sigmas = TensorAttribute()
    host_discrete_sigmas = discrete_sigmas.host

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 2000,
        snr: float = 0.15,
        sigma_min: float = 0.01,
        sigma_max: float = 1348.0,
        sampling_eps: float = 1e-5,
        correct_steps: int = 1,
    ):
        self.init_noise_sigma = float(sigma_max)
        self.timesteps = None
        self.set_sigmas(num_train_timesteps, sigma_min, sigma_max, sampling_eps)

    def set_timesteps(self, num_inference_steps: int, sampling_eps: float | None = None, device: object = None) -> None:
        """Set the times, from 1 down to `sampling_eps`, float32 [n]."""
        n = check_num_steps(num_inference_steps)
        self.timesteps = linspace(1, self.config.sampling_eps if sampling_eps is None else sampling_eps, n)
        self.num_inference_steps = n

    def set_sigmas(
        self,
        num_inference_steps: int,
        sigma_min: float | None = None,
        sigma_max: float | None = None,
        sampling_eps: float | None = None,
    ) -> None:
        """Set the noise levels: `sigmas` of the times, and increasing `discrete_sigmas`, [n] each."""
        low = self.config.sigma_min if sigma_min is None else sigma_min
        high = self.config.sigma_max if sigma_max is None else sigma_max
        if self.host_timesteps is None:
            self.set_timesteps(num_inference_steps, sampling_eps)
        n = check_num_steps(num_inference_steps)
        self.discrete_sigmas = np.exp(linspace(math.log(low), math.log(high), n))
        self.sigmas = np.float32(low) * np.float32(high / low) ** self._times()

    def step_pred(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SdeVeOutput | tuple[paddle.Tensor, ...]:
        """Take a predictor step: x + (sigma_i^2 - sigma_{i-1}^2) s + sqrt(sigma_i^2 - sigma_{i-1}^2) z (algorithm 2).

        Args:
            model_output: the score s at `timestep`, [B, C, ...].
            timestep: a time in [0, 1].
            sample: x, [B, C, ...].
            generator: source of z.
            return_dict: return an `SdeVeOutput`, otherwise a tuple.
        """
        num_times = len(self._times())
        check_shapes(model_output, sample)
        if not 0 <= as_scalar(timestep) <= 1:
            raise InputError(
                f"The time {as_scalar(timestep)} is not in the schedule.",
                expected="a number between 0 and 1",
                remedy="iterate over scheduler.timesteps after scheduler.set_timesteps(num_inference_steps)",
            )
        i = int(np.float32(as_scalar(timestep)) * np.float32(num_times - 1))
        if i >= len(self.host_discrete_sigmas):
            raise InputError(
                "There are fewer noise levels than timesteps.",
                problems=[f"timesteps: {num_times}", f"noise levels: {len(self.host_discrete_sigmas)}"],
                remedy="call scheduler.set_sigmas(n) with the n of scheduler.set_timesteps(n)",
            )
        sigma = float(self.host_discrete_sigmas[i])
        below = float(self.host_discrete_sigmas[i - 1]) if i > 0 else 0.0
        variance = sigma**2 - below**2
        mean = combine((1, upcast(sample)), (variance, upcast(model_output)))
        noise = upcast(randn_tensor(sample.shape, generator=generator, dtype=sample.dtype))
        prev = combine((1, mean), (variance**0.5, noise))
        prev, mean = downcast(prev, sample), downcast(mean, sample)
        return SdeVeOutput(prev, mean) if return_dict else (prev, mean)

    def step_correct(
        self,
        model_output: paddle.Tensor,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Take a corrector step (algorithm 4): a Langevin step, its size from `snr` and the norms of score and noise.

        Args:
            model_output: the score, [B, C, ...].
            sample: x, [B, C, ...].
            generator: source of the noise.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        score = upcast(model_output)
        noise = randn_tensor(sample.shape, generator=generator)
        grad_norm, noise_norm = ((t * t).reshape([t.shape[0], -1]).sum(axis=-1).sqrt().mean() for t in (score, noise))
        size = (noise_norm / grad_norm * self.config.snr) ** 2 * 2  # a tensor, to avoid a transfer to the host
        prev = upcast(sample) + score * size + noise * (size * 2) ** 0.5
        return step_result(return_dict, downcast(prev, sample))

    def add_noise(self, original_samples: paddle.Tensor, noise: paddle.Tensor, timesteps: object) -> paddle.Tensor:
        """Compute x_0 + sigma z.

        Args:
            original_samples: x_0, [B, C, ...].
            noise: z, [B, C, ...].
            timesteps: one index of `discrete_sigmas` per sample, [B].
        """
        sigmas = self.host_discrete_sigmas[to_array(timesteps).astype(np.int64).reshape(-1)]
        return original_samples + noise * per_sample(sigmas, original_samples)

    def _times(self) -> np.ndarray:
        """Return the times of the run.

        Raises:
            InputError: `set_timesteps` was not called.
        """
        self._require_timesteps()
        return np.asarray(self.host_timesteps)

    @staticmethod
    def reference_outputs(
        scheduler: Any, rng: np.random.Generator, tensor: Callable[[np.ndarray], Any], noise: Mapping[str, Any]
    ) -> dict[str, Any]:
        scheduler.set_timesteps(10)
        scheduler.set_sigmas(10)
        sample, score = (tensor(normal(rng, 2, 3, 8, 8)) for _ in range(2))  # [B, C, H, W]
        predicted = scheduler.step_pred(score, scheduler.timesteps[3], sample, **noise).prev_sample
        corrected = scheduler.step_correct(score, sample, **noise).prev_sample
        noise_levels = {"timesteps": scheduler.timesteps, "sigmas": scheduler.sigmas}
        return {**noise_levels, "predicted": predicted, "corrected": corrected}
