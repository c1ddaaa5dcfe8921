"""LCM: multistep consistency sampling in latent space (Luo et al. 2023, https://arxiv.org/abs/2310.04378)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.schedulers.common.arrays import TensorAttribute
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    check_shapes,
    combine,
    downcast,
    limit_x0,
    to_x0,
    upcast,
)
from ppdiffusers.schedulers.common.spacing import distilled_timesteps, training_timesteps
from ppdiffusers.schedulers.common.stepping import StepIndex, as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin
from ppdiffusers.utils.torch_utils import Generator, randn_tensor


@dataclass
class LCMSchedulerOutput(BaseOutput):
    """Output of a step.

    Args:
        prev_sample: x_{t-1}, the input of the next step, [B, C, ...].
        denoised: the clean sample predicted at this step, [B, C, ...].
    """

    prev_sample: paddle.Tensor
    denoised: paddle.Tensor | None = None


class Distilled(StepIndex, VariancePreserving):
    """Mixin for a discrete schedule and a model that was distilled on few of its timesteps."""

    init_noise_sigma = 1.0
    final_alpha_cumprod = TensorAttribute()
    host_final_alpha_cumprod = final_alpha_cumprod.host

    def _init_distilled(self) -> None:
        config = self.config
        check_choice("prediction_type", config.prediction_type, PREDICTION_TYPES)
        steps = config.original_inference_steps
        if steps is None or steps < 1:
            raise ConfigError(f"original_inference_steps={steps!r} is not supported.", expected="at least 1")
        self.noise_schedule = NoiseSchedule.from_config(config)
        self.final_alpha_cumprod = np.float32(1) if config.set_alpha_to_one else self.host_alphas_cumprod[0]
        self.timesteps = training_timesteps(config.num_train_timesteps)
        self.custom_timesteps = False
        self._reset_index()

    def _origin(self, original_steps: int, strength: float) -> np.ndarray:
        """Return every (T / original_steps)-th training timestep up to `strength`, increasing."""
        stride = self.config.num_train_timesteps // original_steps
        return np.arange(1, int(original_steps * strength) + 1) * stride - 1

    def _set_schedule(
        self, origin: np.ndarray, n: int | None, timesteps: Sequence[int] | None, strength: float, original: int
    ) -> None:
        t_max = self.config.num_train_timesteps
        self.timesteps = distilled_timesteps(t_max, origin, n, timesteps, strength, original)
        self.custom_timesteps = timesteps is not None
        self.num_inference_steps = n if timesteps is None else len(timesteps)
        self._reset_index()

    def previous_timestep(self, timestep: Timestep) -> Any:
        """Return the timestep of the next step of the run, a tensor without axes; -1 stands for the clean sample.

        Before `set_timesteps` it is `timestep` - 1, of the type of `timestep`.
        """
        if self.num_inference_steps is None:
            return timestep - 1
        after = self.index_for_timestep(timestep) + 1
        return paddle.to_tensor(self.host_timesteps[after] if after < len(self.host_timesteps) else -1, dtype="int64")


class LCMScheduler(Distilled, SchedulerMixin):
    """Latent consistency models.

    Args:
        original_inference_steps: number of steps that the model was distilled on.
        timestep_scaling: scale of t in the boundary condition (c_skip, c_out).
        See `DDIMScheduler` for the other arguments.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "scaled_linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        original_inference_steps: int = 50,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        timestep_scaling: float = 10.0,
        rescale_betas_zero_snr: bool = False,
    ):
        self._init_distilled()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        original_inference_steps: int | None = None,
        timesteps: Sequence[int] | None = None,
        strength: float = 1.0,
    ) -> None:
        """Set the number of inference steps, selected from those of the distillation, or custom timesteps."""
        original = original_inference_steps or self.config.original_inference_steps
        self._set_schedule(self._origin(original, strength), num_inference_steps, timesteps, strength, original)

    def get_scalings_for_boundary_condition_discrete(self, timestep: Timestep) -> tuple[float, float]:
        """Return (c_skip, c_out) of Song et al. 2023, https://arxiv.org/abs/2303.01469, with sigma_data = 0.5."""
        t, sigma_data = timestep * self.config.timestep_scaling, 0.5
        return sigma_data**2 / (t**2 + sigma_data**2), t / (t**2 + sigma_data**2) ** 0.5

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> LCMSchedulerOutput | tuple[paddle.Tensor, ...]:
        """Predict the clean sample and add new noise to reach the next timestep (algorithm 3); none in the last step.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x_t, [B, C, ...].
            generator: source of the noise.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        t = as_scalar(timestep)
        prev_t = int(self.host_timesteps[i + 1]) if i + 1 < len(self.host_timesteps) else t
        a, a_prev = self.alpha_bar(t), self.alpha_bar(prev_t, self.host_final_alpha_cumprod)
        x = upcast(sample)

        x0 = to_x0(self.config.prediction_type, upcast(model_output), x, a**0.5, (1 - a) ** 0.5)
        c_skip, c_out = self.get_scalings_for_boundary_condition_discrete(t)
        denoised = combine((c_out, limit_x0(self.config, x0)), (c_skip, x))
        prev = denoised
        if i + 1 != self.num_inference_steps:
            noise = upcast(randn_tensor(sample.shape, generator=generator, dtype=sample.dtype))
            prev = combine((a_prev**0.5, denoised), ((1 - a_prev) ** 0.5, noise))
        self._step_index = i + 1
        prev, denoised = downcast(prev, sample), downcast(denoised, sample)
        return LCMSchedulerOutput(prev, denoised) if return_dict else (prev, denoised)
