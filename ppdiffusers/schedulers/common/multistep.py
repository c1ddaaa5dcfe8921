"""What solvers in the log signal-to-noise ratio share: their noise levels, conversions and memory of predictions."""

from __future__ import annotations

import math

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, per_image
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    dynamic_threshold,
    epsilon_of,
    to_epsilon,
    to_x0,
)
from ppdiffusers.schedulers.common.sigmas import (
    check_sigma_rule,
    flow_sigmas,
    karras_sigmas,
    sigma_to_t,
    spread_by_rule,
)
from ppdiffusers.schedulers.common.sigmas import sigmas_at as interpolate
from ppdiffusers.schedulers.common.spacing import SPACINGS, check_num_steps, visit_n_plus_1
from ppdiffusers.schedulers.common.stepping import StepIndex
from ppdiffusers.schedulers.common.updates import Level

Tensor = paddle.Tensor

FINAL_SIGMAS = ("zero", "sigma_min")
# Names of other solvers that stand for this one's default when a configuration is exchanged.
FOREIGN_SOLVER_TYPES = ("midpoint", "heun", "logrho", "bh1", "bh2")


class LogSNRSolver(StepIndex):
    """Mixin: `sigmas` [n + 1], a noise level for each step and the one it ends at; the newest predictions.

    `predicts_x0` says whether predictions are kept as clean samples or as noise.
    """

    init_noise_sigma = 1.0
    noise_schedule: NoiseSchedule
    predicts_x0 = True
    rising = False  # whether steps lead towards the noise

    def _init_solver(self, history: int) -> None:
        """Check what all these solvers take, and stand at the training schedule."""
        config = self.config
        check_sigma_rule(config)
        check_choice("prediction_type", config.prediction_type, (*PREDICTION_TYPES, "flow_prediction"))
        if "timestep_spacing" in self.init_parameters():
            check_choice("timestep_spacing", config.timestep_spacing, SPACINGS)
        self.noise_schedule = NoiseSchedule.from_config(config, finite_sigmas=True)
        self.timesteps = np.arange(config.num_train_timesteps, dtype=np.float32)[::-1]
        self.sigmas = self.noise_schedule.sigmas
        self.flow_shift = config.get("flow_shift")
        self._history = history
        self._reset_solver()

    def _take_name(self, key: str, value: str, own: tuple[str, ...], foreign: tuple[str, ...]) -> str:
        """`value` if it is this solver's, or its default for another solver's name, which the config then says."""
        if value in own or value not in foreign:
            check_choice(key, value, own)
            return value
        self.register_to_config(**{key: own[0]})
        return own[0]

    def _reset_solver(self) -> None:
        self.model_outputs: list[Tensor] = []  # oldest first
        self._reset_index()

    def _set_shift(self, mu: float | None) -> None:
        """`mu` is the logarithm of the flow's shift at the picture's size, under `use_dynamic_shifting`."""
        if mu is None:
            return
        config = self.config
        if not config.use_dynamic_shifting or config.time_shift_type != "exponential":
            raise InputError(
                "`mu` shifts the flow only with use_dynamic_shifting=True and time_shift_type='exponential'.",
                where=f"mu={mu}",
            )
        self.flow_shift = math.exp(mu)

    def _visit(self, num_inference_steps: int) -> np.ndarray:
        """Falling integer timesteps above `lambda_min_clipped`."""
        config = self.config
        n, t_max = check_num_steps(num_inference_steps), config.num_train_timesteps
        check_num_steps(n, t_max)
        clipped = np.searchsorted(self.noise_schedule.lambda_t[::-1], config.get("lambda_min_clipped", -math.inf))
        spacing = config.timestep_spacing if "timestep_spacing" in self.init_parameters() else "linspace"
        return visit_n_plus_1(spacing, t_max, n, config.get("steps_offset", 0), t_max - int(clipped))

    def _levels(self, timesteps: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """(timesteps, falling sigmas) [n], and whether a rule spread them in place of the timesteps."""
        config, schedule = self.config, self.noise_schedule
        ends = (schedule.sigmas[0], schedule.sigmas[-1]) if self.rising else (schedule.sigmas[-1], schedule.sigmas[0])
        by_rule = spread_by_rule(config, num_steps, *ends)
        if by_rule is not None:
            steps = sigma_to_t(by_rule, schedule.log_sigmas)
            return (steps.round() if self._rounds_rule("use_karras_sigmas") else steps), by_rule, True
        if config.get("use_lu_lambdas"):  # Lu et al. 2022: equal steps in lambda
            ramp = np.linspace(0, 1, num_steps)
            sigmas = np.exp(karras_sigmas(ramp, schedule.log_sigmas[0], schedule.log_sigmas[-1], rho=1.0))
            steps = sigma_to_t(sigmas, schedule.log_sigmas)
            return (steps.round() if self._rounds_rule("use_lu_lambdas") else steps), sigmas, True
        if config.get("use_flow_sigmas"):
            sigmas = flow_sigmas(num_steps, config.num_train_timesteps, self.flow_shift)
            return sigmas * config.num_train_timesteps, sigmas, True
        return timesteps, interpolate(timesteps, schedule), False

    def _rounds_rule(self, rule: str) -> bool:
        return bool(self.config.get(rule))

    def _start(self, timesteps: np.ndarray, sigmas: np.ndarray) -> None:
        self.timesteps = timesteps.astype(np.int64)
        self.sigmas = sigmas.astype(np.float32)
        self.num_inference_steps = len(timesteps)
        self._reset_solver()

    def _last_sigma(self, sigmas: np.ndarray, by_rule: bool) -> float:
        """Noise level after the last step: the smallest of training, or once more the last of a rule."""
        return sigmas[-1] if by_rule else self.noise_schedule.sigmas[0]

    def _alpha_sigma(self, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(alpha, sigma) of x = alpha x_0 + sigma eps at a level of `sigmas`."""
        if self.config.get("use_flow_sigmas"):
            return 1 - sigma, sigma
        alpha = np.float32(1) / np.sqrt(sigma * sigma + np.float32(1))
        return alpha, sigma * alpha

    def _level(self, index: int) -> Level:
        return Level.of(*self._alpha_sigma(self.sigmas[index]))

    def _convert(self, output: Tensor, sample: Tensor) -> Tensor:
        """The prediction as a clean sample or as noise, limited by `thresholding`."""
        config, level = self.config, self._level(self._step_index)
        if config.get("variance_type") in ("learned", "learned_range") and config.prediction_type == "epsilon":
            output = output[:, : sample.shape[1]]
        if config.prediction_type == "flow_prediction":
            x0 = to_x0("v_prediction", output, sample, 1.0, float(self.sigmas[self._step_index]))
            x0 = self._limit(x0)
            return x0 if self.predicts_x0 else epsilon_of(x0, sample, level.alpha, level.sigma)
        if self.predicts_x0:
            return self._limit(to_x0(config.prediction_type, output, sample, level.alpha, level.sigma))
        eps = to_epsilon(config.prediction_type, output, sample, level.alpha, level.sigma)
        if not config.get("thresholding"):
            return eps
        x0 = self._limit(to_x0("epsilon", eps, sample, level.alpha, level.sigma))
        return epsilon_of(x0, sample, level.alpha, level.sigma)

    def _limit(self, x0: Tensor) -> Tensor:
        config = self.config
        if not config.get("thresholding"):
            return x0
        return dynamic_threshold(x0, config.dynamic_thresholding_ratio, config.sample_max_value)

    def _remember(self, prediction: Tensor) -> None:
        self.model_outputs = [*self.model_outputs, prediction][-self._history :]

    def _newest(self, order: int) -> list[Tensor]:
        """[m_0, m_1, ...], newest first."""
        return self.model_outputs[::-1][:order]

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: object) -> Tensor:
        """alpha x_0 + sigma eps, one timestep of the schedule for each image."""
        alpha, sigma = self._alpha_sigma(self.sigmas[self._indices_for(timesteps)])
        return per_image(alpha, original_samples) * original_samples + per_image(sigma, original_samples) * noise
