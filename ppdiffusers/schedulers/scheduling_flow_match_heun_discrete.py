"""Heun's method for rectified flows: x = (1 - sigma) x_0 + sigma eps (Esser et al. 2024, arXiv 2403.03206)."""

from __future__ import annotations

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.prediction import check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.sigmas import shift_sigmas
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.common.stepping import check_not_loop_index
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import HeunStages, churn, interleave
from ppdiffusers.schedulers.scheduling_flow_match_euler_discrete import Flow
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

FlowMatchHeunDiscreteSchedulerOutput = SchedulerOutput


class FlowMatchHeunDiscreteScheduler(HeunStages, Flow, SchedulerMixin):
    """Heun's method for a network that predicts the velocity: two calls per step, one in the last.

    Args:
        shift: shift of the noise levels; larger values increase the noise, for larger images.
    """

    order = 2

    @register_to_config
    def __init__(self, num_train_timesteps: int = 1000, shift: float = 1.0):
        self._init_flow(shift)

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps."""
        n = check_num_steps(num_inference_steps)
        levels = shift_sigmas(np.linspace(self.sigma_max, self.sigma_min, n), self.config.shift).astype(np.float32)
        levels = interleave(levels, levels)
        self.timesteps = levels * self.config.num_train_timesteps
        self.sigmas = np.append(levels, np.float32(0))
        self.num_inference_steps = n
        self._reset_stages()
        self._reset_index()

    def scale_noise(self, sample: paddle.Tensor, timestep: Timestep, noise: paddle.Tensor) -> paddle.Tensor:
        """Compute sigma eps + (1 - sigma) x_0 at a timestep, at which the run then starts, [B, C, ...]."""
        sigma = float(self.host_sigmas[self._current_index(timestep)])
        return combine((sigma, noise), (1 - sigma, sample))

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
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Take an Euler step to the next noise level; the second call there repeats it with the trapezoidal rule.

        Args:
            model_output: the velocity at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            s_churn, s_tmin, s_tmax, s_noise: noise added before a step, none by default, see `EulerDiscreteScheduler`.
            generator: source of the noise.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        check_not_loop_index(timestep)
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        first, x, slope = self.state_in_first_order, upcast(sample), upcast(model_output)
        sigma = float(self.host_sigmas[i if first else i - 1])
        gamma = churn(s_churn, s_tmin, s_tmax, sigma, len(self.host_sigmas) - 1)
        sigma_hat = sigma * (gamma + 1)
        if gamma > 0:  # drawn in both calls; the second uses the stored start of the step
            noise = upcast(randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype))
            x = combine((1, x), (s_noise * (sigma_hat**2 - sigma**2) ** 0.5, noise))
        if first:
            slope = combine((sigma / sigma_hat, slope))
            prev = self._predict(x, slope, float(self.host_sigmas[i + 1]) - sigma_hat)
        else:
            prev = self._correct(slope)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, model_output))
