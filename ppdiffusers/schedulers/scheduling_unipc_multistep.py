"""UniPC: a unified predictor-corrector (Zhao et al. 2023, https://arxiv.org/abs/2302.04867)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.multistep import FINAL_SIGMAS, OTHER_SOLVER_TYPES, LogSNRSolver
from ppdiffusers.schedulers.common.noise_schedule import VariancePreserving
from ppdiffusers.schedulers.common.prediction import check_choice, check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.sigmas import append_final_sigma
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import Level, exponential_integrator
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator


class Predictor(Protocol):
    """What UniPC needs of the scheduler in `solver_p`."""

    def set_timesteps(self, num_inference_steps: int, /) -> None:
        """Set the number of inference steps."""

    def step(self, model_output: paddle.Tensor, timestep: Timestep, sample: paddle.Tensor, /) -> SchedulerOutput:
        """Step to the next noise level."""
        ...


class UniPCMultistepScheduler(LogSNRSolver, VariancePreserving, SchedulerMixin):
    """UniPC-p: each new prediction also corrects the previous step, without additional network calls.

    Args:
        solver_order: p, 1 to 9; 2 for guided sampling, 3 without guidance.
        predict_x0: solve for the clean sample (recommended) or for the noise.
        solver_type: B(h) of eq. 9: "bh2" is e^h - 1; "bh1" is h, for fewer than 10 steps without guidance.
        lower_order_final: lower the order in the last steps.
        disable_corrector: indices of steps that are not corrected.
        solver_p: another scheduler with the same configuration, used as predictor instead of UniP.
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
        trained_betas: np.ndarray | Sequence[float] | None = None,
        solver_order: int = 2,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        predict_x0: bool = True,
        solver_type: str = "bh2",
        lower_order_final: bool = True,
        disable_corrector: Sequence[int] = (),
        solver_p: Predictor | None = None,
        use_karras_sigmas: bool | None = False,
        use_exponential_sigmas: bool | None = False,
        use_beta_sigmas: bool | None = False,
        use_flow_sigmas: bool | None = False,
        flow_shift: float | None = 1.0,
        timestep_spacing: str = "linspace",
        steps_offset: int = 0,
        final_sigmas_type: str | None = "zero",
        rescale_betas_zero_snr: bool = False,
        use_dynamic_shifting: bool = False,
        time_shift_type: str = "exponential",
    ):
        self._resolve_choice("solver_type", solver_type, ("bh2", "bh1"), OTHER_SOLVER_TYPES)
        check_choice("final_sigmas_type", final_sigmas_type, FINAL_SIGMAS)
        check_choice("solver_order", solver_order, range(1, 10))
        self.predict_x0 = self._predicts_x0 = predict_x0
        self.disable_corrector = list(disable_corrector)
        self.register_to_config(disable_corrector=self.disable_corrector)  # as it is in a saved file
        self.solver_p = solver_p
        self._init_solver(solver_order)

    def set_timesteps(self, num_inference_steps: int, device: object = None, mu: float | None = None) -> None:
        """Set the number of inference steps."""
        self._set_shift(mu)
        steps, sigmas, respaced = self._timesteps_and_sigmas(
            self._spaced_timesteps(num_inference_steps), num_inference_steps
        )
        last = self._final_sigma(sigmas, respaced) if self.config.final_sigmas_type == "sigma_min" else 0.0
        self._start(steps, append_final_sigma(sigmas, last))
        if self.solver_p is not None:
            self.solver_p.set_timesteps(num_inference_steps)

    def _reset_solver(self) -> None:
        super()._reset_solver()
        self.last_sample: paddle.Tensor | None = None
        self.this_order = 1

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        return_dict: bool = True,
        generator: Generator = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Correct the sample with the new prediction (UniC), then step to the next noise level (UniP).

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
        prediction = self._convert(upcast(model_output), x, i)
        if i > 0 and i - 1 not in self.disable_corrector and self.last_sample is not None:
            x = self._update(self.last_sample, i - 1, self.this_order, prediction)
        self._append_output(prediction)
        order = min(self.config.solver_order, self.lower_order_nums)
        if self.config.lower_order_final:
            order = min(order, len(self.host_timesteps) - i)
        self.this_order = 1 if self.host_sigmas[i + 1] == 0 else order  # the step to noise level 0 is first order
        self.last_sample = x
        if self.solver_p is not None:
            prev = upcast(self.solver_p.step(model_output, timestep, downcast(x, sample)).prev_sample)
        else:
            prev = self._update(x, i, self.this_order)
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample))

    def _update(self, sample: paddle.Tensor, start: int, order: int, new: paddle.Tensor | None = None) -> paddle.Tensor:
        """Step from level `start` to the next: UniP (eq. 9), or UniC (eq. 10) with the prediction `new` at its end."""
        s, t = self._level(start), self._level(start + 1)
        weights = exponential_integrator("dpmsolver++" if self._predicts_x0 else "dpmsolver", "", 1, s, t)
        m0, *older = self._recent_outputs(order)
        points = [
            float((self._level(start - k).lambda_ - s.lambda_) / (t.lambda_ - s.lambda_)) for k in range(1, order)
        ]
        differences = list(zip(points, older, strict=True))
        if new is not None:
            differences.append((1.0, new))
        if not differences:
            return combine((weights.sample, sample), (weights.d0, m0))
        scaled = self._unified_weights(s, t, [point for point, _ in differences], predictor=new is None)
        terms = [(w / point, m) for w, (point, m) in zip(scaled, differences, strict=True)]
        return combine((weights.sample, sample), (weights.d0 - sum(w for w, _ in terms), m0), *terms)

    def _unified_weights(self, s: Level, t: Level, points: list[float], predictor: bool) -> list[float]:
        """Compute the weights of (m_k - m_0) / r_k: R a = b (theorem 3.1), times -alpha_t B(h) or -sigma_t B(h)."""
        h = t.lambda_ - s.lambda_
        hh = float(-h if self._predicts_x0 else h)
        phi = math.expm1(hh)
        bh = phi if self.config.solver_type == "bh2" else hh
        scale = -float(t.alpha if self._predicts_x0 else t.sigma) * bh
        if len(points) == 1:  # as diffusers, independent of h
            return [0.5 * scale]
        moments, factorial, phi_k = [], 1, phi / hh - 1
        for k in range(1, len(points) + 1):
            moments.append(phi_k * factorial / bh)
            factorial *= k + 1
            phi_k = phi_k / hh - 1 / factorial
        matrix = np.vander(points, len(points), increasing=True).T  # row k: r^k
        return [scale * a for a in np.linalg.solve(matrix, moments).tolist()]
