"""DDIM: deterministic sampling on a subset of timesteps (Song et al. 2020, https://arxiv.org/abs/2010.02502)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import TensorAttribute
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    check_shapes,
    combine,
    downcast,
    epsilon_of,
    limit_x0,
    to_epsilon,
    to_x0,
    upcast,
)
from ppdiffusers.schedulers.common.spacing import (
    SPACINGS,
    check_descending,
    check_exclusive,
    check_num_steps,
    following_timestep,
    spaced_timesteps,
    training_timesteps,
)
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

DDIMSchedulerOutput = SchedulerOutput


def ddim_variance(alpha_bar: np.float32, alpha_bar_prev: np.float32) -> np.float32:
    """Compute sigma_t^2 of eq. 16 at eta = 1, the variance of the DDPM posterior."""
    return (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)


class DDIMScheduler(VariancePreserving, SchedulerMixin):
    """Denoising diffusion implicit models.

    Args:
        set_alpha_to_one: use alpha_bar = 1 at the end of the last step, otherwise that of timestep 0.
        See `DDPMScheduler` for the other arguments.
    """

    accepts_eta = True
    init_noise_sigma = 1.0
    final_alpha_cumprod = TensorAttribute()
    host_final_alpha_cumprod = final_alpha_cumprod.host

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        rescale_betas_zero_snr: bool = False,
    ):
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        check_choice("timestep_spacing", timestep_spacing, SPACINGS)
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self.final_alpha_cumprod = np.float32(1) if set_alpha_to_one else self.host_alphas_cumprod[0]
        self.timesteps = training_timesteps(num_train_timesteps)
        self.custom_timesteps = False

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Set the number of inference steps, or custom timesteps (decreasing integers)."""
        check_exclusive(num_inference_steps=num_inference_steps, timesteps=timesteps)
        config = self.config
        self.custom_timesteps = timesteps is not None
        if timesteps is not None:
            check_descending(timesteps, config.num_train_timesteps)
            self.timesteps = np.asarray(timesteps, dtype=np.int64)
            self.num_inference_steps = len(timesteps)
            return
        n = check_num_steps(num_inference_steps, config.num_train_timesteps)
        steps = spaced_timesteps(config.timestep_spacing, config.num_train_timesteps, n, config.steps_offset)
        self.timesteps = steps.round().astype(np.int64)
        self.num_inference_steps = n

    def _previous(self, timestep: float) -> float:
        """Return the timestep of the next step; below 0, it stands for the clean sample."""
        if self.custom_timesteps:
            return following_timestep(self.host_timesteps, timestep)
        return timestep - self.config.num_train_timesteps // self.num_inference_steps

    def _get_variance(self, timestep: Timestep, prev_timestep: Timestep) -> paddle.Tensor:
        """Return `ddim_variance` between two timesteps, a tensor without axes."""
        alpha_bar_prev = self.alpha_bar(as_scalar(prev_timestep), self.host_final_alpha_cumprod)
        return paddle.to_tensor(ddim_variance(self.alpha_bar(as_scalar(timestep)), alpha_bar_prev))

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        generator: Generator = None,
        variance_noise: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Compute x_{t-1} from x_t (eq. 12): predicted x_0 + direction pointing to x_t + random noise.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: t.
            sample: x_t, [B, C, ...].
            eta: the amount of added noise (eq. 16): 0 is DDIM, 1 is DDPM.
            use_clipped_model_output: recompute the predicted noise from the clipped x_0.
            generator: source of the added noise.
            variance_noise: the added noise itself, [B, C, ...], in place of `generator`.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        t, config = as_scalar(timestep), self.config
        prev_t = self._previous(t)
        alpha_bar = self.alpha_bar(t)
        alpha_bar_prev = self.alpha_bar(prev_t, self.host_final_alpha_cumprod)
        alpha, sigma = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        x, output = upcast(sample), upcast(model_output)

        x0 = limit_x0(config, to_x0(config.prediction_type, output, x, alpha, sigma))
        if use_clipped_model_output:
            eps = epsilon_of(x0, x, alpha, sigma)
        else:
            eps = to_epsilon(config.prediction_type, output, x, alpha, sigma)
        std = eta * ddim_variance(alpha_bar, alpha_bar_prev) ** 0.5  # eq. 16
        prev = combine((alpha_bar_prev**0.5, x0), (np.maximum(1 - alpha_bar_prev - std**2, 0) ** 0.5, eps))
        if eta > 0:
            prev = prev + float(std) * self._noise(variance_noise, generator, model_output)
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))

    def _noise(self, given: paddle.Tensor | None, generator: Generator, like: paddle.Tensor) -> paddle.Tensor:
        if given is not None and generator is not None:
            raise InputError("Got both `generator` and `variance_noise`.", expected="one of them")
        if given is None:
            given = randn_tensor(like.shape, generator=generator, dtype=like.dtype)
        return upcast(given)
