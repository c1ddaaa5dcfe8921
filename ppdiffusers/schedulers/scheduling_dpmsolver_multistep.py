"""DPM-Solver and DPM-Solver++, multistep (Lu et al. 2022, https://arxiv.org/abs/2206.00927 and /2211.01095)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

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
from ppdiffusers.schedulers.common.updates import exponential_integrator, multistep_terms
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

ALGORITHMS = ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver")
SOLVER_TYPES = ("midpoint", "heun")


class DPMSolverSteps(LogSNRSolver):
    """Mixin: the multistep update of order 1 to 3, for whatever noise levels the scheduler visits."""

    def _init_dpm_solver(self, algorithms: tuple[str, ...] = ALGORITHMS) -> None:
        config = self.config
        algorithm = self._resolve_choice("algorithm_type", config.algorithm_type, algorithms, ("deis",))
        self._resolve_choice("solver_type", config.solver_type, SOLVER_TYPES, OTHER_SOLVER_TYPES)
        check_choice("solver_order", config.solver_order, (1, 2, 3))
        if algorithm == "sde-dpmsolver" and config.solver_order == 3:
            raise ConfigError("sde-dpmsolver has no third order.", expected="solver_order 1 or 2, or sde-dpmsolver++")
        self._predicts_x0 = algorithm.endswith("++")
        if "final_sigmas_type" in config:
            check_choice("final_sigmas_type", config.final_sigmas_type, FINAL_SIGMAS)
            if config.final_sigmas_type == "zero" and not self._predicts_x0:
                raise ConfigError(
                    f"{algorithm} cannot step to a level without noise.",
                    expected="final_sigmas_type='sigma_min', or an algorithm_type that ends in '++'",
                )

    def _order(self) -> int:
        """Lower where predictions are few yet, and at the end, where large steps of high order are unstable."""
        config, n = self.config, len(self.timesteps)
        left = n - self._step_index
        order = min(config.solver_order, len(self.model_outputs))
        small = config.lower_order_final and n < 15
        if left == 1 and (config.euler_at_final or small or config.get("final_sigmas_type") == "zero"):
            return 1
        return min(order, 2) if left == 2 and small else order

    def _multistep_update(self, sample: paddle.Tensor, noise: paddle.Tensor | None) -> paddle.Tensor:
        """From the level of this step to the next, by the newest predictions."""
        i, order, config = self._step_index, self._order(), self.config
        levels = [self._level(i + 1 - k) for k in range(order + 1)]  # t, s_0, s_1, ...
        weights = exponential_integrator(config.algorithm_type, config.solver_type, order, levels[1], levels[0])
        terms = [(weights.sample, sample), *multistep_terms(weights, levels, self._recent_outputs(order))]
        if noise is not None:
            terms.append((weights.noise, noise))
        return combine(*terms)

    def _step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator,
        variance_noise: paddle.Tensor | None,
        return_dict: bool,
        noise_dtype: Any,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        self._require_timesteps()
        if self.config.get("variance_type") not in ("learned", "learned_range"):
            check_shapes(model_output, sample)
        self._current_index(timestep)
        self._check_index()
        x = upcast(sample)
        self._append_output(self._convert(upcast(model_output), x))
        noise = None
        if self.config.algorithm_type.startswith("sde"):
            noise = variance_noise
            if noise is None:
                noise = randn_tensor(sample.shape, generator=generator, dtype=noise_dtype)
            noise = upcast(noise)
        prev = self._multistep_update(x, noise)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample))


class DPMSolverMultistepScheduler(DPMSolverSteps, VariancePreserving, SchedulerMixin):
    """DPM-Solver++(2M) and its relatives.

    Args:
        solver_order: 1 (DDIM), 2 (for guided sampling) or 3 (without guidance).
        algorithm_type: "dpmsolver++" predicts the clean sample, "dpmsolver" the noise; "sde-..." add noise.
        solver_type: second order by "midpoint" or "heun".
        lower_order_final: lower the order in the last steps if there are fewer than 15.
        euler_at_final: first order in the last step.
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, use_lu_lambdas, use_flow_sigmas, flow_shift:
            how the noise levels are spread, see `sigmas`.
        final_sigmas_type: the last step ends at noise level "zero" or "sigma_min".
        lambda_min_clipped: leave out training timesteps with log(alpha / sigma) below this (cosine schedule: -5.1).
        variance_type: "learned" or "learned_range" if the network also predicts the variance, which is not used.
        use_dynamic_shifting, time_shift_type: take `mu` in `set_timesteps`.
        The other arguments are those of `DDPMScheduler`.
    """

    exchangeable = True

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
        use_lu_lambdas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        final_sigmas_type: str | None = "zero",
        lambda_min_clipped: float = -math.inf,
        variance_type: str | None = None,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ):
        self._init_dpm_solver()
        self._init_solver(solver_order)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        mu: float | None = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Choose how many steps to take, or which training timesteps to visit."""
        self._set_shift(mu)
        check_exclusive(num_inference_steps=num_inference_steps, timesteps=timesteps)
        check_custom_timesteps(self.config, timesteps)
        given = timesteps is not None
        visited = np.asarray(timesteps, dtype=np.int64) if given else self._visit(num_inference_steps)
        steps, sigmas, _ = self._levels(visited, len(visited) if given else num_inference_steps)
        last = self.noise_schedule.sigmas[0] if self.config.final_sigmas_type == "sigma_min" else 0.0
        self._start(steps, append_final_sigma(sigmas, last))

    def _rounds_timesteps(self, rule: str) -> bool:
        return super()._rounds_timesteps(rule) and self.config.beta_schedule != "squaredcos_cap_v2"

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        variance_noise: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """To the next noise level by the exponential integrator of `updates`, of as high an order as is stable.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`; only the first is looked at.
            sample: x at this timestep, [B, C, ...].
            generator: of the noise of the "sde-" algorithms, or `variance_noise`: the noise itself.
        """
        return self._step(model_output, timestep, sample, generator, variance_noise, return_dict, "float32")
