"""DEIS: exponential integration with polynomials in log(rho) (Zhang & Chen 2022, https://arxiv.org/abs/2204.13902)."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.multistep import OTHER_SOLVER_TYPES, LogSNRSolver
from ppdiffusers.schedulers.common.noise_schedule import VariancePreserving
from ppdiffusers.schedulers.common.prediction import check_choice, check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.sigmas import append_final_sigma
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import exponential_integrator
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator


class DEISMultistepScheduler(LogSNRSolver, VariancePreserving, SchedulerMixin):
    """Diffusion exponential integrator sampler, log-rho multistep.

    Args:
        solver_order: 1 (DDIM), 2 or 3.
        algorithm_type: "deis".
        solver_type: "logrho".
        See `DPMSolverMultistepScheduler` for the other arguments.
    """

    init_noise_sigma = 1.0
    _predicts_x0 = False

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | None = None,
        solver_order: int = 2,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "deis",
        solver_type: str = "logrho",
        lower_order_final: bool = True,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ):
        self._resolve_choice("algorithm_type", algorithm_type, ("deis",), ("dpmsolver", "dpmsolver++"))
        self._resolve_choice("solver_type", solver_type, ("logrho",), OTHER_SOLVER_TYPES)
        check_choice("solver_order", solver_order, (1, 2, 3))
        self._init_solver(solver_order)

    def set_timesteps(self, num_inference_steps: int, device: object = None, mu: float | None = None) -> None:
        """Set the number of inference steps."""
        self._set_shift(mu)
        steps, sigmas, respaced = self._timesteps_and_sigmas(
            self._spaced_timesteps(num_inference_steps), num_inference_steps
        )
        self._start(steps, append_final_sigma(sigmas, self._final_sigma(sigmas, respaced)))

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        return_dict: bool = True,
        generator: Generator = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Step to the next noise level: integrate a polynomial through the last predictions of the noise (eq. 14).

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`; only the first step of a run reads it.
            sample: x at this timestep, [B, C, ...].
            generator: ignored; this scheduler adds no noise.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        x = upcast(sample)
        self._append_output(self._convert(upcast(model_output), x, i))
        order = self.lower_order_nums
        remaining = len(self.host_timesteps) - i
        if self.config.lower_order_final and len(self.host_timesteps) < 15:
            order = min(order, remaining)
        t, *past = (self._level(i + 1 - k) for k in range(order + 1))
        if order == 1:
            weights = exponential_integrator("dpmsolver", "", 1, past[0], t)
            prev = combine((weights.sample, x), (weights.d0, self.model_outputs[-1]))
        else:
            rhos = self.host_sigmas[i + 1 - np.arange(order + 1)].astype(np.float64)  # differences cancel in float32
            if self.config.use_flow_sigmas:
                rhos = rhos / (1 - rhos)
            terms = zip(_lagrange_integrals(*rhos.tolist()), self._recent_outputs(order), strict=True)
            prev = combine((t.alpha / past[0].alpha, x), *((t.alpha * c, m) for c, m in terms))
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample))


def _lagrange_integrals(rho_t: float, *rhos: float) -> list[float]:
    """Integrate the Lagrange polynomials in log(rho) of the nodes over rho = sigma / alpha from rhos[0] to rho_t."""
    integral: Callable[..., float] = _integral_2 if len(rhos) == 2 else _integral_3
    rotations = [rhos[k:] + rhos[:k] for k in range(len(rhos))]
    return [integral(rho_t, *nodes) - integral(rhos[0], *nodes) for nodes in rotations]


def _integral_2(rho: float, b: float, c: float) -> float:
    """Compute the antiderivative of (log rho - log c) / (log b - log c)."""
    return rho * (log(rho) - log(c) - 1) / (log(b) - log(c))


def _integral_3(rho: float, b: float, c: float, d: float) -> float:
    """Compute the antiderivative of (log rho - log c)(log rho - log d) / ((log b - log c)(log b - log d))."""
    x, y, z = log(rho), log(c), log(d)
    numerator = y * (z - x + 1) - z * x + z + x * x - 2 * x + 2
    return rho * numerator / ((log(b) - y) * (log(b) - z))
