"""DPM-Solver and DPM-Solver++, singlestep (Lu et al. 2022, https://arxiv.org/abs/2206.00927 and /2211.01095)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.schedulers.common.multistep import FINAL_SIGMAS, OTHER_SOLVER_TYPES, LogSNRSolver
from ppdiffusers.schedulers.common.noise_schedule import VariancePreserving
from ppdiffusers.schedulers.common.prediction import check_choice, check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.sigmas import append_final_sigma, check_custom_timesteps
from ppdiffusers.schedulers.common.spacing import check_exclusive
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import exponential_integrator, singlestep_terms
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

logger = get_logger(__name__)


class DPMSolverSinglestepScheduler(LogSNRSolver, VariancePreserving, SchedulerMixin):
    """DPM-Solver and DPM-Solver++, singlestep: groups of `solver_order` calls start from the same sample (Runge-Kutta).

    Args:
        lower_order_final: end with groups of lower order, for numbers of steps that `solver_order` does not divide.
        See `DPMSolverMultistepScheduler` for the other arguments.
    """

    init_noise_sigma = 1.0

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
        algorithm_type: str = "dpmsolver++",
        solver_type: str = "midpoint",
        lower_order_final: bool = False,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        final_sigmas_type: str | None = "zero",
        lambda_min_clipped: float = -math.inf,
        variance_type: str | None = None,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ):
        algorithms = ("dpmsolver++", "dpmsolver", "sde-dpmsolver++")
        algorithm = self._resolve_choice("algorithm_type", algorithm_type, algorithms, ("deis",))
        self._resolve_choice("solver_type", solver_type, ("midpoint", "heun"), OTHER_SOLVER_TYPES)
        check_choice("solver_order", solver_order, (1, 2, 3))
        check_choice("final_sigmas_type", final_sigmas_type, FINAL_SIGMAS)
        self._predicts_x0 = algorithm.endswith("++")
        if final_sigmas_type == "zero" and not self._predicts_x0:
            raise ConfigError(
                f"{algorithm} does not support a final noise level of 0.",
                expected="final_sigmas_type='sigma_min', or an algorithm_type that ends in '++'",
            )
        self._init_solver(solver_order)
        self.order_list = self.get_order_list(num_train_timesteps)

    def get_order_list(self, num_inference_steps: int) -> list[int]:
        """Return the order of each call: groups of 1, 2, ..., `solver_order`, and lower orders at the end."""
        n, order = num_inference_steps, self.config.solver_order
        group = list(range(1, order + 1))
        if not self.config.lower_order_final:
            orders = group * (n // order)
        elif order == 3 and n % 3 == 0:
            orders = group * (n // 3 - 1) + [1, 2, 1]
        elif order == 2 and n % 2 == 0:
            orders = group * (n // 2 - 1) + [1, 1]
        else:
            orders = group * (n // order) + group[: n % order]
        if self.config.final_sigmas_type == "zero" and orders:
            orders[-1] = 1
        return orders

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        mu: float | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Set the number of inference steps, or custom timesteps."""
        self._set_shift(mu)
        check_exclusive(num_inference_steps=num_inference_steps, timesteps=timesteps)
        check_custom_timesteps(self.config, timesteps)
        if timesteps is None:
            spaced = self._spaced_timesteps(num_inference_steps)
        else:
            spaced = np.asarray(timesteps, dtype=np.int64)
        n = len(spaced)
        steps, sigmas, _ = self._timesteps_and_sigmas(spaced, n)
        last = self.noise_schedule.sigmas[0] if self.config.final_sigmas_type == "sigma_min" else 0.0
        self._start(steps, append_final_sigma(sigmas, last))
        if not self.config.lower_order_final and (
            n % self.config.solver_order != 0 or self.config.final_sigmas_type == "zero"
        ):
            logger.warning(
                "lower_order_final is set to True: it is required for %d steps with final_sigmas_type=%r.",
                n,
                self.config.final_sigmas_type,
            )
            self.register_to_config(lower_order_final=True)
        self.order_list = self.get_order_list(n)

    def _reset_solver(self) -> None:
        super()._reset_solver()
        self.sample: paddle.Tensor | None = None  # at the start of the group

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Step from the start of the group to the next noise level, with all predictions of the group.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`; only the first step of a run reads it.
            sample: x at this timestep, [B, C, ...].
            generator: source of the noise of "sde-dpmsolver++".
        """
        self._require_timesteps()
        config = self.config
        if config.variance_type not in ("learned", "learned_range"):
            check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        x = upcast(sample)
        self._append_output(self._convert(upcast(model_output), x, i))
        order = min(self.order_list[i], len(self.model_outputs))  # a late start has a shorter history
        if order == 1:
            self.sample = x
        levels = [self._level(i + 1 - k) for k in range(order + 1)]
        weights = exponential_integrator(config.algorithm_type, config.solver_type, order, levels[-1], levels[0])
        terms = singlestep_terms(weights, config.solver_type, levels, self._recent_outputs(order))
        if config.algorithm_type.startswith("sde"):
            noise = randn_tensor(sample.shape, generator=generator, dtype=model_output.dtype)
            terms.append((weights.noise, upcast(noise)))
        prev = combine((weights.sample, self.sample), *terms)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample))
