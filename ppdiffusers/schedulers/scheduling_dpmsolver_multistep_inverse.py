"""DPM-Solver++ inversion: from a clean sample to the noise that DPM-Solver++ maps to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.schedulers.common.noise_schedule import VariancePreserving
from ppdiffusers.schedulers.common.sigmas import append_final_sigma
from ppdiffusers.schedulers.common.spacing import check_num_steps, leading_timesteps, trailing_timesteps
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverSteps
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput
from ppdiffusers.utils.torch_utils import Generator


class DPMSolverMultistepInverseScheduler(DPMSolverSteps, VariancePreserving, SchedulerMixin):
    """The inverse of `DPMSolverMultistepScheduler`, with the same arguments and update rule."""

    accepts_exchangeable = True
    init_noise_sigma = 1.0
    inverse = True

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        solver_order: int = 2,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = True,
        euler_at_final: bool = False,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        lambda_min_clipped: float = -math.inf,
        variance_type: str | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ):
        self._init_dpm_solver()
        self._init_solver(solver_order)
        self.timesteps = self.host_timesteps[::-1]

    def set_timesteps(self, num_inference_steps: int | None = None, device: object = None) -> None:
        """Set the number of inference steps; the last ends at the noisiest timestep above `lambda_min_clipped`."""
        config, schedule = self.config, self.noise_schedule
        n, t_max = check_num_steps(num_inference_steps, config.num_train_timesteps), config.num_train_timesteps
        noisiest = t_max - 1 - int(np.searchsorted(schedule.lambda_t[::-1], config.lambda_min_clipped))
        self.noisiest_timestep = noisiest
        if config.timestep_spacing == "trailing":
            spaced = trailing_timesteps(noisiest + 1, t_max / n)[:n][::-1]
        elif n == noisiest + 1:  # every timestep is used: there is no noisy end to drop
            spaced = np.arange(n)
        elif config.timestep_spacing == "linspace":
            spaced = np.linspace(0, noisiest, n + 1).round()[:-1].astype(np.int64)
        else:
            stride = (noisiest + 1) // (n + 1)
            spaced = leading_timesteps(np.arange(n) * stride, config.steps_offset, t_max)[::-1]
        steps, sigmas, respaced = self._timesteps_and_sigmas(spaced, n)
        last = sigmas[-1] if respaced else schedule.sigmas[noisiest]
        unique = np.sort(np.unique(steps, return_index=True)[1])
        self._start(steps[unique], append_final_sigma(sigmas, last))

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        variance_noise: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Step to the next, higher noise level; see `DPMSolverMultistepScheduler.step`."""
        if self.config.algorithm_type.startswith("sde"):
            raise ConfigError(
                "Stochastic solvers cannot be inverted.",
                expected="algorithm_type 'dpmsolver++' or 'dpmsolver'",
            )
        return self._step(model_output, timestep, sample, generator, variance_noise, return_dict, model_output.dtype)
