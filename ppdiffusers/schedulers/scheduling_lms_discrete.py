"""Linear multistep method (Adams-Bashforth with variable steps in sigma; `sample_lms` in k-diffusion)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    check_shapes,
    combine,
    downcast,
    to_x0_exploding,
    upcast,
)
from ppdiffusers.schedulers.common.sigmas import append_final_sigma, check_sigma_spacing, timesteps_and_sigmas
from ppdiffusers.schedulers.common.spacing import SPACINGS, check_num_steps, spaced_timesteps
from ppdiffusers.schedulers.common.stepping import VarianceExploding
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import derivative
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator

LMSDiscreteSchedulerOutput = SchedulerOutput


class LMSDiscreteScheduler(VarianceExploding, VariancePreserving, SchedulerMixin):
    """Linear multistep method.

    Args:
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas: see `sigmas`.
        See `DDPMScheduler` for the other arguments.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        prediction_type: str = "epsilon",
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
    ):
        check_sigma_spacing(self.config)
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        check_choice("timestep_spacing", timestep_spacing, SPACINGS)
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self._set_schedule(num_train_timesteps)

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps."""
        self._set_schedule(check_num_steps(num_inference_steps, self.config.num_train_timesteps))

    def _set_schedule(self, n: int) -> None:
        self.num_inference_steps = n
        config = self.config
        steps = spaced_timesteps(config.timestep_spacing, config.num_train_timesteps, n, config.steps_offset)
        steps, sigmas = timesteps_and_sigmas(config, self.noise_schedule, steps.astype(np.float32))
        self.timesteps, self.sigmas = steps.astype(np.float32), append_final_sigma(sigmas)
        self.derivatives: list[paddle.Tensor] = []  # oldest first
        self._reset_index()

    def get_lms_coefficient(self, order: int, t: int, current_order: int) -> float:
        """Integrate the Lagrange polynomial of the derivative `current_order` steps ago over step t."""
        levels = self.host_sigmas[t - np.arange(order)].astype(np.float64)  # sigma_t, sigma_{t-1}, ...
        start, end = float(self.host_sigmas[t]), float(self.host_sigmas[t + 1])
        nodes, weights = np.polynomial.legendre.leggauss(order)  # exact for polynomials of degree 2 * order - 1
        tau = (start + end) / 2 + (end - start) / 2 * nodes
        others = np.delete(levels, current_order)
        basis = np.prod((tau[:, None] - others) / (levels[current_order] - others), axis=1)
        return float((end - start) / 2 * (weights @ basis))

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        order: int = 4,
        return_dict: bool = True,
        generator: Generator = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Compute x + the integral of dx/dsigma over the step, extrapolated from up to `order` derivatives.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            order: the largest number of derivatives to use.
            generator: ignored; this scheduler adds no noise.
        """
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        sigma, x = float(self.host_sigmas[i]), upcast(sample)

        x0 = to_x0_exploding(self.config.prediction_type, upcast(model_output), x, sigma)
        self.derivatives = [*self.derivatives, derivative(x, x0, sigma)][-order:]
        order = min(i + 1, order)
        weights = [self.get_lms_coefficient(order, i, k) for k in range(order)]
        prev = combine((1, x), *zip(weights, reversed(self.derivatives), strict=False))
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))
