"""DPM-Solver and DPM-Solver++, multistep (Lu et al. 2022, https://arxiv.org/abs/2206.00927 and /2211.01095)."""

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
from ppdiffusers.schedulers.common.spacing import check_exclusive, check_num_steps
from ppdiffusers.schedulers.common.types import Scalar, Timestep
from ppdiffusers.schedulers.common.updates import exponential_integrator, multistep_terms
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

ALGORITHMS = ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver")
SOLVER_TYPES = ("midpoint", "heun")


class DPMSolverSteps(LogSNRSolver, SchedulerMixin):
    """Mixin for the multistep update of order 1 to 3, independent of the noise levels of the schedule."""

    def _init_dpm_solver(self, algorithms: tuple[str, ...] = ALGORITHMS) -> None:
        config = self.config
        algorithm = self._resolve_choice("algorithm_type", config.algorithm_type, algorithms, ("deis",))
        self._resolve_choice("solver_type", config.solver_type, SOLVER_TYPES, OTHER_SOLVER_TYPES)
        check_choice("solver_order", config.solver_order, (1, 2, 3))
        if algorithm == "sde-dpmsolver" and config.solver_order == 3:
            raise ConfigError(
                "sde-dpmsolver does not support solver_order=3.", expected="solver_order 1 or 2, or sde-dpmsolver++"
            )
        self._predicts_x0 = algorithm.endswith("++")
        if "final_sigmas_type" in config:
            check_choice("final_sigmas_type", config.final_sigmas_type, FINAL_SIGMAS)
            if config.final_sigmas_type == "zero" and not self._predicts_x0:
                raise ConfigError(
                    f"{algorithm} does not support a final noise level of 0.",
                    expected="final_sigmas_type='sigma_min', or an algorithm_type that ends in '++'",
                )

    def _order(self, index: int) -> int:
        """Return the order of a step: lower at the start (short history) and at the end of short runs (stability)."""
        config, n = self.config, len(self.host_timesteps)
        remaining = n - index
        order = min(config.solver_order, self.lower_order_nums)
        small = config.lower_order_final and n < 15
        if remaining == 1 and (config.euler_at_final or small or config.get("final_sigmas_type") == "zero"):
            return 1
        return min(order, 2) if remaining == 2 and small else order

    def _multistep_update(self, sample: paddle.Tensor, noise: paddle.Tensor | None, i: int) -> paddle.Tensor:
        """Compute the sample at the next noise level from the recent predictions, [B, C, ...]."""
        order, config = self._order(i), self.config
        levels = [self._level(i + 1 - k) for k in range(order + 1)]  # t, s_0, s_1, ...
        weights = exponential_integrator(config.algorithm_type, config.solver_type, order, levels[1], levels[0])
        terms: list[tuple[Scalar, paddle.Tensor]] = [
            (weights.sample, sample),
            *multistep_terms(weights, levels, self._recent_outputs(order)),
        ]
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
        noise_dtype: paddle.dtype | str,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Take a step; noise of the "sde-" algorithms is drawn in `noise_dtype`."""
        self._require_timesteps()
        if self.config.get("variance_type") not in ("learned", "learned_range"):
            check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        x = upcast(sample)
        self._append_output(self._convert(upcast(model_output), x, i))
        noise = None
        if self.config.algorithm_type.startswith("sde"):
            noise = variance_noise
            if noise is None:
                noise = randn_tensor(sample.shape, generator=generator, dtype=noise_dtype)
            noise = upcast(noise)
        prev = self._multistep_update(x, noise, i)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample))


class DPMSolverMultistepScheduler(DPMSolverSteps, VariancePreserving, SchedulerMixin):
    """DPM-Solver and DPM-Solver++, multistep; the default is DPM-Solver++(2M).

    Args:
        solver_order: 1 (DDIM), 2 (for guided sampling) or 3 (without guidance).
        algorithm_type: "dpmsolver++" solves for the clean sample, "dpmsolver" for the noise; "sde-..." add noise.
        solver_type: the second-order rule, "midpoint" or "heun".
        lower_order_final: lower the order in the last steps of runs of fewer than 15 steps.
        euler_at_final: use first order in the last step.
        use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas, use_lu_lambdas, use_flow_sigmas, flow_shift:
            the spacing of noise levels, see `sigmas`.
        final_sigmas_type: the noise level after the last step, "zero" or "sigma_min".
        lambda_min_clipped: skip training timesteps with log(alpha / sigma) below this (cosine schedule: -5.1).
        variance_type: "learned" or "learned_range" if the network also predicts the variance, which is ignored.
        use_dynamic_shifting, time_shift_type: accept `mu` in `set_timesteps`.
        See `DDPMScheduler` for the other arguments.
    """

    init_noise_sigma = 1.0

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
        """Set the number of inference steps, or custom timesteps."""
        self._set_shift(mu)
        check_exclusive(num_inference_steps=num_inference_steps, timesteps=timesteps)
        check_custom_timesteps(self.config, timesteps)
        if timesteps is None:
            n = check_num_steps(num_inference_steps)
            spaced = self._spaced_timesteps(n)
        else:
            n, spaced = len(timesteps), np.asarray(timesteps, dtype=np.int64)
        steps, sigmas, _ = self._timesteps_and_sigmas(spaced, n)
        last = self.noise_schedule.sigmas[0] if self.config.final_sigmas_type == "sigma_min" else 0.0
        self._start(steps, append_final_sigma(sigmas, last))

    def _rounds_timesteps(self, key: str) -> bool:
        return super()._rounds_timesteps(key) and self.config.beta_schedule != "squaredcos_cap_v2"

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        variance_noise: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Step to the next noise level with the exponential integrator of `updates`.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`; only the first step of a run reads it.
            sample: x at this timestep, [B, C, ...].
            generator: source of the noise of the "sde-" algorithms.
            variance_noise: this noise itself, [B, C, ...], in place of `generator`.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        return self._step(model_output, timestep, sample, generator, variance_noise, return_dict, "float32")
