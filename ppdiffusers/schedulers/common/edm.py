"""The preconditioning and noise levels of EDM (Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1)."""

from __future__ import annotations

import math

import numpy as np
import paddle

from ppdiffusers.schedulers.common.noise_schedule import linspace
from ppdiffusers.schedulers.common.prediction import check_choice, combine
from ppdiffusers.schedulers.common.sigmas import karras_sigmas


class EDM:
    """Mixin: `sigma_data`, `sigma_min`, `sigma_max`, `rho` and `sigma_schedule` are in the configuration."""

    def _check_edm(self) -> None:
        check_choice("sigma_schedule", self.config.sigma_schedule, ("karras", "exponential"))
        check_choice("prediction_type", self.config.prediction_type, ("epsilon", "v_prediction"))
        check_choice("final_sigmas_type", self.config.final_sigmas_type, ("zero", "sigma_min"))

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the first sample."""
        return (self.config.sigma_max**2 + 1) ** 0.5

    def precondition_inputs(self, sample: paddle.Tensor, sigma: float) -> paddle.Tensor:
        """c_in x = x / sqrt(sigma^2 + sigma_data^2)."""
        return sample * float(1 / (sigma**2 + self.config.sigma_data**2) ** 0.5)

    def precondition_noise(self, sigma: np.ndarray) -> np.ndarray:
        """c_noise = log(sigma) / 4: what the network takes as its timestep."""
        return 0.25 * np.log(np.asarray(sigma, dtype=np.float32))

    def precondition_outputs(self, sample: paddle.Tensor, model_output: paddle.Tensor, sigma: float) -> paddle.Tensor:
        """x_0 = c_skip x + c_out F, the network's F being of the other sign if it predicts the velocity."""
        sigma_data = self.config.sigma_data
        total = sigma**2 + sigma_data**2
        c_out = sigma * sigma_data / total**0.5
        if self.config.prediction_type == "v_prediction":
            c_out = -c_out
        return combine((sigma_data**2 / total, sample), (c_out, model_output))

    def scale_model_input(self, sample: paddle.Tensor, timestep: float) -> paddle.Tensor:
        """The sample, preconditioned for the network."""
        return self.precondition_inputs(sample, float(self.sigmas[self._begin(timestep)]))

    def _sigmas_of(self, ramp: np.ndarray) -> np.ndarray:
        """Falling noise levels, float32, for a ramp from 0 to 1."""
        config = self.config
        if config.sigma_schedule == "karras":
            return karras_sigmas(ramp, config.sigma_min, config.sigma_max, config.rho).astype(np.float32)
        return np.exp(linspace(math.log(config.sigma_min), math.log(config.sigma_max), len(ramp)))[::-1]
