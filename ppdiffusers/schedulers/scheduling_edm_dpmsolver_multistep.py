"""DPM-Solver++ with EDM's preconditioning (Lu et al. 2022; Karras et al. 2022)."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.edm import EDM
from ppdiffusers.schedulers.common.noise_schedule import linspace
from ppdiffusers.schedulers.common.sigmas import append_final_sigma
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverSteps
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from ppdiffusers.utils.torch_utils import Generator


class EDMDPMSolverMultistepScheduler(EDM, DPMSolverSteps, SchedulerMixin):
    """DPM-Solver++(2M) in the formulation of EDM, where x = x_0 + sigma eps.

    See `EDMEulerScheduler` and `DPMSolverMultistepScheduler` for the arguments.
    """

    @register_to_config
    def __init__(
        self,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        sigma_schedule: str = "karras",
        num_train_timesteps: int = 1000,
        prediction_type: str = "epsilon",
        rho: float = 7.0,
        solver_order: int = 2,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = True,
        euler_at_final: bool = False,
        final_sigmas_type: str | None = "zero",
    ):
        self._check_edm()
        self._init_dpm_solver(("dpmsolver++", "sde-dpmsolver++"))
        self._history = solver_order
        self._set_ramp(num_train_timesteps, 0.0)

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps."""
        n, config = check_num_steps(num_inference_steps), self.config
        self._set_ramp(n, config.sigma_min if config.final_sigmas_type == "sigma_min" else 0.0)
        self.num_inference_steps = n

    def _set_ramp(self, n: int, last: float) -> None:
        sigmas = self._sigmas_of(linspace(0, 1, n))
        self.timesteps = self.precondition_noise(sigmas)
        self.sigmas = append_final_sigma(sigmas, last)
        self._reset_solver()

    def _alpha_sigma(self, sigma: np.ndarray | np.float32) -> tuple[Any, Any]:
        return np.ones_like(sigma), sigma

    def _convert(self, output: paddle.Tensor, sample: paddle.Tensor, index: int) -> paddle.Tensor:
        return self._threshold(self.precondition_outputs(sample, output, float(self.host_sigmas[index])))

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Step to the next noise level; see `DPMSolverMultistepScheduler.step`."""
        return self._step(model_output, timestep, sample, generator, None, return_dict, model_output.dtype)
