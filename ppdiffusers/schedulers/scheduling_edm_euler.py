"""Euler's method with EDM's preconditioning (Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.arrays import to_array
from ppdiffusers.schedulers.common.edm import EDM
from ppdiffusers.schedulers.common.prediction import check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.sigmas import append_final_sigma
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.common.stepping import VarianceExploding, check_not_loop_index
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import churn, euler_step
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

EDMEulerSchedulerOutput = SchedulerOutput


class EDMEulerScheduler(EDM, VarianceExploding, SchedulerMixin):
    """Euler's method in the formulation of EDM.

    Args:
        sigma_min, sigma_max: the range of noise levels.
        sigma_data: standard deviation of the data.
        sigma_schedule: spacing of the noise levels, "karras" (with exponent `rho`) or "exponential".
        prediction_type: "epsilon" or "v_prediction".
        final_sigmas_type: the noise level after the last step, "zero" or "sigma_min".
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
        final_sigmas_type: str = "zero",
    ):
        self._check_edm()
        self._set_schedule(np.arange(num_train_timesteps + 1) / num_train_timesteps)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        sigmas: paddle.Tensor | Sequence[float] | None = None,
    ) -> None:
        """Set the number of inference steps, or `sigmas`: points on the ramp from 0 (most noise) to 1."""
        if sigmas is None:
            ramp = np.linspace(0, 1, check_num_steps(num_inference_steps))
        else:
            ramp = to_array(sigmas).astype(np.float64).reshape(-1)
        self._set_schedule(ramp)
        self.num_inference_steps = len(ramp)

    def _set_schedule(self, ramp: np.ndarray) -> None:
        sigmas = self._sigmas_of(ramp)
        self.timesteps = self.precondition_noise(sigmas)
        self.sigmas = append_final_sigma(sigmas, sigmas[-1] if self.config.final_sigmas_type == "sigma_min" else 0.0)
        self._reset_index()

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        s_churn: float = 0.0,
        s_tmin: float = 0.0,
        s_tmax: float = float("inf"),
        s_noise: float = 1.0,
        generator: Generator = None,
        return_dict: bool = True,
        pred_original_sample: paddle.Tensor | None = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Step to the next noise level as `EulerDiscreteScheduler` does, with the preconditioned network.

        Args:
            model_output: F(c_in x, c_noise), [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            s_churn, s_tmin, s_tmax, s_noise: noise of algorithm 2; none is added by default.
            generator: source of the noise.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
            pred_original_sample: x_0 if it is known, [B, C, ...].
        """
        check_not_loop_index(timestep)
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        sigma, x = float(self.host_sigmas[i]), upcast(sample)
        gamma = churn(s_churn, s_tmin, s_tmax, sigma, len(self.host_sigmas) - 1)
        sigma_hat = sigma * (gamma + 1)
        if gamma > 0:
            noise = upcast(randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype))
            x = combine((1, x), (s_noise * (sigma_hat**2 - sigma**2) ** 0.5, noise))
        x0 = pred_original_sample
        if x0 is None:
            x0 = self.precondition_outputs(x, upcast(model_output), sigma_hat)
        prev = euler_step(x, upcast(x0), sigma_hat, float(self.host_sigmas[i + 1]))
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, model_output), x0)
