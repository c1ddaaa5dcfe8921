"""The preconditioning and noise levels of EDM (Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1)."""

from __future__ import annotations

import math

import numpy as np
import paddle

from ppdiffusers.schedulers.common.arrays import Sigmas
from ppdiffusers.schedulers.common.noise_schedule import linspace
from ppdiffusers.schedulers.common.prediction import check_choice, combine
from ppdiffusers.schedulers.common.sigmas import check_noise_levels, karras_sigmas
from ppdiffusers.schedulers.common.stepping import StepIndex
from ppdiffusers.schedulers.common.types import Timestep


class EDM(Sigmas, StepIndex):
    """Mixin for schedulers whose configuration has `sigma_data`, `sigma_min`, `sigma_max`, `rho`, `sigma_schedule`."""

    def _check_edm(self) -> None:
        check_noise_levels(sigma_min=self.config.sigma_min, sigma_max=self.config.sigma_max)
        check_choice("sigma_schedule", self.config.sigma_schedule, ("karras", "exponential"))
        check_choice("prediction_type", self.config.prediction_type, ("epsilon", "v_prediction"))
        check_choice("final_sigmas_type", self.config.final_sigmas_type, ("zero", "sigma_min"))

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the initial noise."""
        return (self.config.sigma_max**2 + 1) ** 0.5

    def precondition_inputs(self, sample: paddle.Tensor, sigma: float) -> paddle.Tensor:
        """Compute c_in x = x / sqrt(sigma^2 + sigma_data^2)."""
        return sample * float(1 / (sigma**2 + self.config.sigma_data**2) ** 0.5)

    def precondition_noise(self, sigma: np.ndarray) -> np.ndarray:
        """Compute c_noise = log(sigma) / 4, the network's timestep."""
        return 0.25 * np.log(np.asarray(sigma, dtype=np.float32))

    def precondition_outputs(self, sample: paddle.Tensor, model_output: paddle.Tensor, sigma: float) -> paddle.Tensor:
        """Compute x_0 = c_skip x + c_out F; c_out changes sign for a network that predicts the velocity."""
        sigma_data = self.config.sigma_data
        total = sigma**2 + sigma_data**2
        c_out = sigma * sigma_data / total**0.5
        if self.config.prediction_type == "v_prediction":
            c_out = -c_out
        return combine((sigma_data**2 / total, sample), (c_out, model_output))

    def scale_model_input(self, sample: paddle.Tensor, timestep: Timestep | None = None) -> paddle.Tensor:
        """Return the preconditioned network input c_in x."""
        return self.precondition_inputs(sample, float(self.host_sigmas[self._current_index(timestep)]))

    def _sigmas_of(self, ramp: np.ndarray) -> np.ndarray:
        """Return decreasing noise levels, float32 [n], for a ramp from 0 to 1."""
        config = self.config
        if config.sigma_schedule == "karras":
            return karras_sigmas(ramp, config.sigma_min, config.sigma_max, config.rho).astype(np.float32)
        return np.exp(linspace(math.log(config.sigma_min), math.log(config.sigma_max), len(ramp)))[::-1]
