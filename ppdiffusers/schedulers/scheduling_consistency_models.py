"""Multistep sampling from consistency models (Song et al. 2023, https://arxiv.org/abs/2303.01469, algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.prediction import check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.sigmas import append_final_sigma, check_noise_levels, karras_sigmas
from ppdiffusers.schedulers.common.spacing import check_descending, check_exclusive, check_num_steps, spaced_timesteps
from ppdiffusers.schedulers.common.stepping import VarianceExploding, check_not_loop_index
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

CMStochasticIterativeSchedulerOutput = SchedulerOutput


class CMStochasticIterativeScheduler(VarianceExploding, SchedulerMixin):
    """Multistep consistency sampling.

    Args:
        sigma_min, sigma_max, rho: the noise levels, see `sigmas.karras_sigmas`.
        sigma_data: standard deviation of the data.
        s_noise: scale of the noise.
        clip_denoised: clip x_0 to [-1, 1].
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 40,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        s_noise: float = 1.0,
        rho: float = 7.0,
        clip_denoised: bool = True,
    ):
        check_noise_levels(sigma_min=sigma_min, sigma_max=sigma_max)
        self.sigmas = self._sigmas_of(np.linspace(0, 1, num_train_timesteps))
        self.timesteps = self.sigma_to_t(self.host_sigmas)
        self.custom_timesteps = False
        self._reset_index()

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the initial noise."""
        return float(self.config.sigma_max)

    def _sigmas_of(self, ramp: np.ndarray) -> np.ndarray:
        return karras_sigmas(ramp, self.config.sigma_min, self.config.sigma_max, self.config.rho)

    def sigma_to_t(self, sigmas: np.ndarray | float) -> np.ndarray:
        """Compute the network's timestep 250 log(sigma)."""
        return (250 * np.log(np.asarray(sigmas, dtype=np.float64) + 1e-44)).astype(np.float32)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Set the number of inference steps, or custom timesteps: decreasing indices of noise levels."""
        check_exclusive(num_inference_steps=num_inference_steps, timesteps=timesteps)
        t_max = self.config.num_train_timesteps
        self.custom_timesteps = timesteps is not None
        if timesteps is not None:
            check_descending(timesteps, t_max)
            levels = np.asarray(timesteps, dtype=np.int64)
        else:
            levels = spaced_timesteps("leading", t_max, check_num_steps(num_inference_steps, t_max))
        sigmas = self._sigmas_of(levels[::-1] / (t_max - 1))
        self.timesteps = self.sigma_to_t(sigmas)
        self.sigmas = append_final_sigma(sigmas, self.config.sigma_min)
        self.num_inference_steps = len(levels)
        self._reset_index()

    def scale_model_input(self, sample: paddle.Tensor, timestep: Timestep | None = None) -> paddle.Tensor:
        """Return sample / sqrt(sigma^2 + sigma_data^2)."""
        sigma = float(self.host_sigmas[self._current_index(timestep)])
        return sample * (1 / (sigma**2 + self.config.sigma_data**2) ** 0.5)

    def get_scalings_for_boundary_condition(self, sigma: float) -> tuple[float, float]:
        """Return (c_skip, c_out) of eq. 5 and appendix C; (1, 0) at sigma_min."""
        low, data = self.config.sigma_min, self.config.sigma_data
        return data**2 / ((sigma - low) ** 2 + data**2), (sigma - low) * data / (sigma**2 + data**2) ** 0.5

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Predict the clean sample, then add new noise to reach the next noise level.

        Args:
            model_output: the network's output at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            generator: source of the noise, which is drawn unless there is a single step.
        """
        check_not_loop_index(timestep)
        check_shapes(model_output, sample)
        i, config = self._begin_step(timestep), self.config
        c_skip, c_out = self.get_scalings_for_boundary_condition(float(self.host_sigmas[i]))
        x0 = combine((c_out, upcast(model_output)), (c_skip, upcast(sample)))
        prev = x0.clip(-1, 1) if config.clip_denoised else x0
        if len(self.host_timesteps) > 1:
            noise = upcast(randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype))
            following = min(i + 1, len(self.host_sigmas) - 1)  # the training schedule ends with its last timestep
            sigma_next = min(max(float(self.host_sigmas[following]), config.sigma_min), config.sigma_max)
            std = config.s_noise * (sigma_next**2 - config.sigma_min**2) ** 0.5
            prev = combine((1, prev), (std, noise))
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample))
