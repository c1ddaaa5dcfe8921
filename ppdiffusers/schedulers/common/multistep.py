"""The base of solvers in lambda = log(alpha / sigma): noise levels, conversions and the history of predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import paddle
from paddle import Tensor

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.schedulers.common.arrays import Sigmas
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, per_sample
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    dynamic_threshold,
    epsilon_of,
    to_epsilon,
    to_x0,
    upcast,
)
from ppdiffusers.schedulers.common.sigmas import (
    check_sigma_spacing,
    flow_sigmas,
    karras_sigmas,
    respaced_sigmas,
    sigma_to_t,
    sigmas_at,
)
from ppdiffusers.schedulers.common.spacing import SPACINGS, check_num_steps, spaced_solver_timesteps
from ppdiffusers.schedulers.common.stepping import StepIndex
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import Level

FINAL_SIGMAS = ("zero", "sigma_min")
# Names that other solvers use; in an exchanged configuration they select this solver's default.
OTHER_SOLVER_TYPES = ("midpoint", "heun", "logrho", "bh1", "bh2")


class LogSNRSolver(Sigmas, StepIndex):
    """Mixin for solvers with `sigmas` [n + 1], the noise level of each step and the final one, and past predictions.

    Class attributes:
        _predicts_x0: whether predictions are stored as clean samples or as noise.
        inverse: whether steps increase the noise.
    """

    num_inference_steps: int | None
    noise_schedule: NoiseSchedule
    flow_shift: float | None
    _predicts_x0: bool = True
    inverse: bool = False

    def _init_solver(self, history: int) -> None:
        """Check the common configuration and start with the training schedule."""
        config = self.config
        check_sigma_spacing(config)
        check_choice("prediction_type", config.prediction_type, (*PREDICTION_TYPES, "flow_prediction"))
        if "timestep_spacing" in self.init_parameters():
            check_choice("timestep_spacing", config.timestep_spacing, SPACINGS)
        if config.get("lambda_min_clipped", -math.inf) is None:
            raise ConfigError("lambda_min_clipped is None.", expected="a number; -Infinity clips nothing")
        self.noise_schedule = NoiseSchedule.from_config(config, finite_sigmas=True)
        self.timesteps = np.arange(config.num_train_timesteps, dtype=np.float32)[::-1]
        self.sigmas = self.noise_schedule.sigmas
        self.flow_shift = config.get("flow_shift")
        self._history = history
        self._reset_solver()

    def _resolve_choice(self, key: str, value: str, own: tuple[str, ...], others: tuple[str, ...]) -> str:
        """Return `value` if this solver supports it; replace another solver's name by the default, also in `config`."""
        if value in own or value not in others:
            check_choice(key, value, own)
            return value
        self.register_to_config(**{key: own[0]})
        return own[0]

    def _reset_solver(self) -> None:
        self.model_outputs: list[Tensor] = []  # oldest first
        self.lower_order_nums = 0  # predictions of this run; `model_outputs` may be assigned longer
        self._reset_index()

    def _set_shift(self, mu: float | None) -> None:
        """Set the shift of the flow to exp(mu); requires `use_dynamic_shifting`."""
        if mu is None:
            return
        config = self.config
        if not config.use_dynamic_shifting or config.time_shift_type != "exponential":
            raise InputError(
                "`mu` requires use_dynamic_shifting=True and time_shift_type='exponential'.",
                where=f"mu={mu}",
            )
        self.flow_shift = math.exp(mu)

    def _spaced_timesteps(self, num_inference_steps: int | None) -> np.ndarray:
        """Return decreasing integer timesteps above `lambda_min_clipped`, [n]."""
        config = self.config
        n, t_max = check_num_steps(num_inference_steps), config.num_train_timesteps
        check_num_steps(n, t_max)
        clipped = np.searchsorted(self.noise_schedule.lambda_t[::-1], config.get("lambda_min_clipped", -math.inf))
        spacing = config.timestep_spacing if "timestep_spacing" in self.init_parameters() else "linspace"
        return spaced_solver_timesteps(spacing, t_max, n, config.get("steps_offset", 0), t_max - int(clipped))

    def _timesteps_and_sigmas(self, timesteps: np.ndarray, num_steps: int) -> tuple[np.ndarray, np.ndarray, bool]:
        """Return timesteps [n], decreasing sigmas [n], and whether the configuration respaced the sigmas."""
        config, schedule = self.config, self.noise_schedule
        ends = (schedule.sigmas[0], schedule.sigmas[-1]) if self.inverse else (schedule.sigmas[-1], schedule.sigmas[0])
        respaced = respaced_sigmas(config, num_steps, *ends)
        if respaced is not None:
            steps = sigma_to_t(respaced, schedule.log_sigmas)
            return (steps.round() if self._rounds_timesteps("use_karras_sigmas") else steps), respaced, True
        if config.get("use_lu_lambdas"):  # Lu et al. 2022: equal steps in lambda
            ramp = np.linspace(0, 1, num_steps)
            sigmas = np.exp(karras_sigmas(ramp, schedule.log_sigmas[0], schedule.log_sigmas[-1], rho=1.0))
            steps = sigma_to_t(sigmas, schedule.log_sigmas)
            return (steps.round() if self._rounds_timesteps("use_lu_lambdas") else steps), sigmas, True
        if config.get("use_flow_sigmas"):
            shift = 1.0 if self.flow_shift is None else self.flow_shift
            sigmas = flow_sigmas(num_steps, config.num_train_timesteps, shift)
            return sigmas * config.num_train_timesteps, sigmas, True
        return timesteps, sigmas_at(timesteps, schedule), False

    def _rounds_timesteps(self, key: str) -> bool:
        """Return whether the timesteps of this spacing are rounded."""
        return bool(self.config.get(key))

    def _start(self, timesteps: np.ndarray, sigmas: np.ndarray) -> None:
        """Set the schedule of a run: timesteps [n] and sigmas [n + 1]."""
        self.timesteps = timesteps.astype(np.int64)
        self.sigmas = sigmas.astype(np.float32)
        self.num_inference_steps = len(timesteps)
        self._reset_solver()

    def _final_sigma(self, sigmas: np.ndarray, respaced: bool) -> float:
        """Return the noise level after the last step: the last respaced one, or the smallest of training."""
        return sigmas[-1] if respaced else self.noise_schedule.sigmas[0]

    def _alpha_sigma(self, sigma: np.ndarray | np.float32) -> tuple[Any, Any]:
        """Return (alpha, sigma) of x = alpha x_0 + sigma eps for elements of `sigmas`, arrays if `sigma` is one."""
        if self.config.get("use_flow_sigmas"):
            return 1 - sigma, sigma
        alpha = np.float32(1) / np.sqrt(sigma * sigma + np.float32(1))
        return alpha, sigma * alpha

    def _level(self, index: int) -> Level:
        return Level.of(*self._alpha_sigma(self.host_sigmas[index]))

    def _convert(self, output: Tensor, sample: Tensor, index: int) -> Tensor:
        """Convert a prediction to the clean sample or the noise, clipped by `thresholding`, [B, C, ...]."""
        config, level = self.config, self._level(index)
        if config.get("variance_type") in ("learned", "learned_range") and config.prediction_type == "epsilon":
            output = output[:, : sample.shape[1]]
        if config.prediction_type == "flow_prediction":
            x0 = to_x0("v_prediction", output, sample, 1.0, float(self.host_sigmas[index]))
            x0 = self._threshold(x0)
            return x0 if self._predicts_x0 else epsilon_of(x0, sample, level.alpha, level.sigma)
        if self._predicts_x0:
            return self._threshold(to_x0(config.prediction_type, output, sample, level.alpha, level.sigma))
        eps = to_epsilon(config.prediction_type, output, sample, level.alpha, level.sigma)
        if not config.get("thresholding"):
            return eps
        x0 = self._threshold(to_x0("epsilon", eps, sample, level.alpha, level.sigma))
        return epsilon_of(x0, sample, level.alpha, level.sigma)

    def convert_model_output(self, model_output: Tensor, *args: Any, sample: Tensor | None = None) -> Tensor:
        """Convert a prediction at the current step to what the solver extrapolates, [B, C, ...].

        Args:
            model_output: the network's prediction, [B, C, ...].
            args: the sample, after a timestep that is ignored, as in deprecated calls.
            sample: x, [B, C, ...].

        Raises:
            InputError: there is no sample, or no step was taken or begun.
        """
        sample = args[-1] if sample is None and args else sample
        if not isinstance(sample, Tensor):
            raise InputError("A prediction is converted together with its sample.", where="sample", expected="a tensor")
        if self.step_index is None:
            raise InputError("The position in the schedule is not known.", remedy="call scheduler.step first")
        return self._convert(upcast(model_output), upcast(sample), self.step_index)

    def _threshold(self, x0: Tensor) -> Tensor:
        config = self.config
        if not config.get("thresholding"):
            return x0
        return dynamic_threshold(x0, config.dynamic_thresholding_ratio, config.sample_max_value)

    def index_for_timestep(self, timestep: Timestep, schedule_timesteps: object = None) -> int:
        """Return the index of a timestep, the second one of repeated timesteps; the last for an unknown timestep."""
        found = self._find_timestep(timestep, schedule_timesteps)
        return len(self.host_timesteps) - 1 if found is None else found

    @property
    def alpha_t(self) -> Tensor:
        """The factor of the clean sample at each training timestep, float32 [T]."""
        return paddle.to_tensor(np.sqrt(self.noise_schedule.alphas_cumprod))

    @property
    def sigma_t(self) -> Tensor:
        """The factor of the noise at each training timestep, float32 [T]."""
        return paddle.to_tensor(np.sqrt(1 - self.noise_schedule.alphas_cumprod))

    @property
    def lambda_t(self) -> Tensor:
        """log(alpha_t / sigma_t), float32 [T]."""
        return paddle.to_tensor(self.noise_schedule.lambda_t)

    def _append_output(self, prediction: Tensor) -> None:
        """Append a prediction to the history of the solver's length."""
        self.model_outputs = [*self.model_outputs, prediction][-self._history :]
        self.lower_order_nums = min(self.lower_order_nums + 1, self._history)

    def _recent_outputs(self, order: int) -> list[Tensor]:
        """Return the last predictions [m_0, m_1, ...], newest first."""
        return self.model_outputs[::-1][:order]

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: object) -> Tensor:
        """Compute alpha_t x_0 + sigma_t eps.

        Args:
            original_samples: x_0, [B, C, ...].
            noise: eps, [B, C, ...].
            timesteps: one element of `self.timesteps` per sample, [B].
        """
        alpha, sigma = self._alpha_sigma(self.host_sigmas[self._indices_for(timesteps)])
        return per_sample(alpha, original_samples) * original_samples + per_sample(sigma, original_samples) * noise
