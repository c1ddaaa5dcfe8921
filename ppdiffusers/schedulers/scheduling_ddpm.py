"""DDPM: ancestral sampling (Ho et al. 2020, https://arxiv.org/abs/2006.11239, algorithm 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    check_shapes,
    downcast,
    limit_x0,
    split_learned_variance,
    to_x0,
    upcast,
)
from ppdiffusers.schedulers.common.spacing import (
    SPACINGS,
    check_descending,
    check_exclusive,
    check_num_steps,
    following_timestep,
    spaced_timesteps,
    training_timesteps,
)
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Scalar, Timestep
from ppdiffusers.schedulers.common.updates import learned_range, posterior_mean, variance_in_form
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

logger = get_logger(__name__)

DDPMSchedulerOutput = SchedulerOutput
VARIANCE_TYPES = ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log", "learned", "learned_range", None)


class DDPMScheduler(VariancePreserving, SchedulerMixin):
    """Denoising diffusion probabilistic models.

    Without `set_timesteps`, a run uses every training timestep: `for t in reversed(range(len(scheduler)))`.

    Args:
        num_train_timesteps: T, the number of steps of the forward process.
        beta_start, beta_end, beta_schedule, trained_betas: the forward process, see `noise_schedule`.
        variance_type: the variance of a reverse step: "fixed_small" is the posterior's (eq. 7), "fixed_large" is
            beta_t, "learned" and "learned_range" come from the network (Nichol & Dhariwal 2021, eq. 15); the "_log"
            forms occur in configurations of released models, None in those of other schedulers ("fixed_small"). Unknown
            ones are "fixed_small" with a warning.
        clip_sample, clip_sample_range, thresholding, dynamic_thresholding_ratio, sample_max_value: limits of x_0, see
            `prediction.limit_x0`.
        prediction_type: what the network predicts: "epsilon", "sample" or "v_prediction".
        timestep_spacing, steps_offset: see `spacing`.
        rescale_betas_zero_snr: rescale the betas to zero terminal SNR.
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
        variance_type: str | None = "fixed_small",
        clip_sample: bool = True,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        clip_sample_range: float = 1.0,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        steps_offset: int = 0,
        rescale_betas_zero_snr: bool = False,
    ):
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        if variance_type not in VARIANCE_TYPES:
            logger.warning("variance_type=%r is unknown: the posterior's variance is used.", variance_type)
        check_choice("timestep_spacing", timestep_spacing, SPACINGS)
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self.variance_type = variance_type
        self.timesteps = training_timesteps(num_train_timesteps)
        self.custom_timesteps = False

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        timesteps: Sequence[int] | None = None,
    ) -> None:
        """Set the number of inference steps, or custom timesteps (decreasing integers)."""
        check_exclusive(num_inference_steps=num_inference_steps, timesteps=timesteps)
        config = self.config
        self.custom_timesteps = timesteps is not None
        if timesteps is not None:
            check_descending(timesteps, config.num_train_timesteps)
            self.timesteps = np.asarray(timesteps, dtype=np.int64)
        else:
            n = check_num_steps(num_inference_steps, config.num_train_timesteps)
            steps = spaced_timesteps(config.timestep_spacing, config.num_train_timesteps, n, config.steps_offset)
            self.timesteps = steps.round().astype(np.int64)
        self.num_inference_steps = len(self.host_timesteps)

    def previous_timestep(self, timestep: Timestep) -> Any:
        """Return the timestep of the next step of the run, a tensor without axes; -1 stands for the clean sample.

        Before `set_timesteps` it is `timestep` - 1, of the type of `timestep`.
        """
        if self.num_inference_steps is None:
            return timestep - 1
        return paddle.to_tensor(self._previous(as_scalar(timestep)), dtype="int64")

    def _previous(self, timestep: float) -> int:
        if self.num_inference_steps is None:
            return int(timestep) - 1
        return following_timestep(self.host_timesteps, timestep)

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Sample x_{t-1} from the posterior q(x_{t-1} | x_t, x_0) of the predicted x_0 (eq. 6 and 7).

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...] or [B, 2C, ...] with a learned variance.
            timestep: t.
            sample: x_t, [B, C, ...].
            generator: source of the noise, see `utils.torch_utils.randn_tensor`.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        t = as_scalar(timestep)
        prev_t = self._previous(t)
        predicted_variance = None
        if self.variance_type in ("learned", "learned_range"):
            model_output, predicted_variance = split_learned_variance(model_output, sample)
        check_shapes(model_output, sample)
        x, output = upcast(sample), upcast(model_output)

        alpha_bar, alpha_bar_prev, alpha, beta = self._coefficients(t, prev_t)
        beta_bar, beta_bar_prev = 1 - alpha_bar, 1 - alpha_bar_prev
        x0 = to_x0(self.config.prediction_type, output, x, alpha_bar**0.5, beta_bar**0.5)
        x0 = limit_x0(self.config, x0)
        mean = posterior_mean(x0, x, alpha_bar, alpha_bar_prev, alpha, beta)
        if t > 0:
            noise = upcast(randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype))
            std = self._standard_deviation(beta, beta_bar, beta_bar_prev, predicted_variance)
            mean = mean + noise * std
        return step_result(return_dict, downcast(mean, sample), downcast(x0, sample))

    def _coefficients(self, t: float, prev_t: float) -> tuple[np.float32, np.float32, np.float32, np.float32]:
        """Return alpha_bar_t, alpha_bar_{t-1}, and alpha_t and beta_t of the step between them."""
        alpha_bar, alpha_bar_prev = self.alpha_bar(t), self.alpha_bar(prev_t, np.float32(1))
        alpha = alpha_bar / alpha_bar_prev
        return alpha_bar, alpha_bar_prev, alpha, 1 - alpha

    def _get_variance(
        self,
        t: Timestep,
        predicted_variance: paddle.Tensor | None = None,
        variance_type: str | None = None,
    ) -> paddle.Tensor:
        """Return the variance of a step from t in the form of `variance_in_form`, [] or [B, C, ...]."""
        step = as_scalar(t)
        alpha_bar, alpha_bar_prev, _, beta = self._coefficients(step, self._previous(step))
        posterior = max(float((1 - alpha_bar_prev) / (1 - alpha_bar) * beta), 1e-20)
        return variance_in_form(variance_type or self.config.variance_type, posterior, beta, predicted_variance)

    def _standard_deviation(
        self, beta: Scalar, beta_bar: Scalar, beta_bar_prev: Scalar, predicted: paddle.Tensor | None
    ) -> float | paddle.Tensor:
        """Return the standard deviation of the noise, a number or [B, C, ...] where the network predicts it."""
        kind = self.variance_type
        smallest = max(beta_bar_prev / beta_bar * beta, 1e-20)  # eq. 7: the posterior's variance
        if kind == "fixed_large":
            return float(beta**0.5)
        if kind == "fixed_large_log":
            raise InputError(
                "variance_type='fixed_large_log' is the square root of a logarithm, which is negative.",
                remedy="use 'fixed_large'",
            )
        if kind not in ("learned", "learned_range"):
            return float(smallest**0.5)
        if predicted is None:
            raise InputError(
                f"variance_type={kind!r} requires a network that predicts the variance.",
                expected="a model_output with twice the sample's channels",
            )
        if kind == "learned":
            return upcast(predicted) ** 0.5
        return learned_range(upcast(predicted), smallest, beta)
