"""SA-Solver: stochastic Adams predictor and corrector (Xue et al. 2023, https://arxiv.org/abs/2309.05019)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.multistep import LogSNRSolver
from ppdiffusers.schedulers.common.noise_schedule import VariancePreserving
from ppdiffusers.schedulers.common.prediction import check_choice, check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.sigmas import append_final_sigma
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import Level
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator, randn_tensor


class SASolverScheduler(LogSNRSolver, VariancePreserving, SchedulerMixin):
    """Stochastic Adams solver.

    Args:
        predictor_order, corrector_order: orders of Adams-Bashforth and Adams-Moulton, 1 to 4.
        tau_func: the amount of noise at a timestep, from 0 (none); by default 1 from 200 to 800, else 0.
        algorithm_type: "data_prediction" or "noise_prediction".
        See `DPMSolverMultistepScheduler` for the other arguments.
    """

    accepts_exchangeable = True
    init_noise_sigma = 1.0
    ignore_for_config = ("tau_func",)
    add_noise = VariancePreserving.add_noise

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        predictor_order: int = 2,
        corrector_order: int = 2,
        prediction_type: str = "epsilon",
        tau_func: Callable[[float], float] | None = None,
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        algorithm_type: str = "data_prediction",
        lower_order_final: bool = True,
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
        check_choice("algorithm_type", algorithm_type, ("data_prediction", "noise_prediction"))
        check_choice("predictor_order", predictor_order, (1, 2, 3, 4))
        check_choice("corrector_order", corrector_order, (1, 2, 3, 4))
        self.predict_x0 = self._predicts_x0 = algorithm_type == "data_prediction"
        self.tau_func: Callable[[float], float] = tau_func or _default_tau
        self._init_solver(max(predictor_order, corrector_order - 1))

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps."""
        steps, sigmas, respaced = self._timesteps_and_sigmas(
            self._spaced_timesteps(num_inference_steps), num_inference_steps
        )
        self._start(steps, append_final_sigma(sigmas, self._final_sigma(sigmas, respaced)))

    def _reset_solver(self) -> None:
        super()._reset_solver()
        self.last_sample: paddle.Tensor | None = None
        self.last_noise: paddle.Tensor | None = None
        self.last_tau = 0.0
        self.this_corrector_order = 1

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Correct the sample with the new prediction (Adams-Moulton), then step to the next level (Adams-Bashforth).

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            generator: source of the noise, drawn in every step; predictor and corrector of a step share it.
        """
        self._require_timesteps()
        config = self.config
        if config.variance_type not in ("learned", "learned_range"):
            check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        x = upcast(sample)
        prediction = self._convert(upcast(model_output), x, i)
        if i > 0 and self.last_sample is not None:
            order = self.this_corrector_order
            models = [prediction, *self._recent_outputs(order - 1)]
            levels = [self._level(i - k) for k in range(order)]
            ends = self._level(i - 1), self._level(i)
            x = self._adams(*ends, levels, models, self.last_sample, self.last_noise, self.last_tau)
        self._append_output(prediction)
        noise = upcast(randn_tensor(sample.shape, generator=generator, dtype=model_output.dtype))
        remaining, known = len(self.host_timesteps) - i, self.lower_order_nums
        order, corrector = config.predictor_order, config.corrector_order
        if config.lower_order_final:
            order, corrector = min(order, remaining), min(corrector, remaining + 1)
        order, self.this_corrector_order = min(order, known), min(corrector, known + 1)
        self.last_sample, self.last_noise = x, noise
        self.last_tau = self.tau_func(as_scalar(timestep))
        levels = [self._level(i - k) for k in range(order)]
        ends = self._level(i), self._level(i + 1)
        prev = self._adams(*ends, levels, self._recent_outputs(order), x, noise, self.last_tau)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample))

    def _adams(
        self,
        s: Level,
        t: Level,
        levels: list[Level],
        models: list[paddle.Tensor],
        sample: paddle.Tensor,
        noise: paddle.Tensor,
        tau: float,
    ) -> paddle.Tensor:
        """Step from s to t with a polynomial through `models` at `levels` (eq. 14 and 17; appendix for the noise)."""
        lambdas = [float(level.lambda_) for level in levels]
        start, end = float(s.lambda_), float(t.lambda_)
        h, k = end - start, 1 + tau**2
        weights = _integrals(lambdas, start, end, k if self._predicts_x0 else None)
        if self._predicts_x0:
            if len(models) == 2:  # as diffusers: the constant part of the error of second order is removed
                error = h**2 / 2 - (h * k - 1 + math.exp(-k * h)) / k**2
                shift = math.exp(k * end) * error / (lambdas[0] - lambdas[1])
                weights = [weights[0] + shift, weights[1] - shift]
            linear, scale = math.exp(-(tau**2) * h) * t.sigma / s.sigma, k * t.sigma * math.exp(-(tau**2) * end)
            std = t.sigma * math.sqrt(max(-math.expm1(-2 * tau**2 * h), 0))
        else:
            linear, scale = t.alpha / s.alpha, -k * t.alpha
            std = tau * t.sigma * math.sqrt(max(math.expm1(2 * h), 0))
        terms = [(scale * w, m) for w, m in zip(weights, models, strict=True)]
        return combine((linear, sample), *terms, (std, noise))


def _default_tau(t: float) -> float:
    return 1 if 200 <= t <= 800 else 0


def _integrals(lambdas: list[float], start: float, end: float, k: float | None) -> list[float]:
    """Integrate each Lagrange polynomial times exp(k lambda), or exp(-lambda) without k, over lambda."""
    moments = [_moment(power, start, end, k) for power in range(len(lambdas))]
    weights = []
    for i, own in enumerate(lambdas):
        others = lambdas[:i] + lambdas[i + 1 :]
        polynomial = np.poly(others) / np.prod([own - other for other in others])  # highest power first
        weights.append(float(np.dot(np.atleast_1d(polynomial), moments[::-1])))
    return weights


def _moment(power: int, start: float, end: float, k: float | None) -> float:
    """Integrate x^power exp(k x), or x^power exp(-x) without k, from start to end."""
    factor = -1.0 if k is None else k

    def antiderivative(x: float) -> float:
        terms = (
            (-1) ** (power - m) * math.factorial(power) / math.factorial(m) * x**m / factor ** (power - m + 1)
            for m in range(power + 1)
        )
        return sum(terms) * math.exp(factor * x)

    return antiderivative(end) - antiderivative(start)
