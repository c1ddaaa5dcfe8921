"""DDIM inversion: from a clean sample to the noise that DDIM maps to it (Mokady et al. 2022, eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.arrays import TensorAttribute
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving
from ppdiffusers.schedulers.common.prediction import (
    PREDICTION_TYPES,
    check_choice,
    check_shapes,
    combine,
    downcast,
    limit_x0,
    to_epsilon,
    to_x0,
    upcast,
)
from ppdiffusers.schedulers.common.spacing import check_num_steps, spaced_timesteps
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.deprecation_utils import deprecate
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.utils.torch_utils import Generator

logger = get_logger(__name__)


class DDIMInverseScheduler(VariancePreserving, SchedulerMixin):
    """The inverse of `DDIMScheduler`, https://arxiv.org/abs/2211.09794.

    Args:
        set_alpha_to_one: use alpha_bar = 1 at the start of the first step, otherwise that of timestep 0.
        kwargs: `set_alpha_to_zero`, the deprecated name of `set_alpha_to_one`. Others are ignored with a warning, so
            that settings of `DDIMScheduler` that inversion lacks are accepted.
        See `DDIMScheduler` for the other arguments.
    """

    init_noise_sigma = 1.0
    initial_alpha_cumprod = TensorAttribute()
    host_initial_alpha_cumprod = initial_alpha_cumprod.host
    renamed_config_keys = {"set_alpha_to_zero": "set_alpha_to_one"}
    _deprecated_kwargs = ("set_alpha_to_zero",)

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        clip_sample: bool = True,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        clip_sample_range: float = 1.0,
        timestep_spacing: str = "leading",
        rescale_betas_zero_snr: bool = False,
        **kwargs: Any,
    ):
        set_alpha_to_one = self._read_deprecated(kwargs, set_alpha_to_one)
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        check_choice("timestep_spacing", timestep_spacing, ("leading", "trailing"))
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self.initial_alpha_cumprod = np.float32(1) if set_alpha_to_one else self.host_alphas_cumprod[0]
        self.timesteps = np.arange(num_train_timesteps, dtype=np.int64)

    def _read_deprecated(self, given: dict[str, Any], set_alpha_to_one: bool) -> bool:
        """Return the value of `set_alpha_to_one`, which may be given under its deprecated name."""
        if given.get("set_alpha_to_zero") is not None:
            deprecate("set_alpha_to_zero", "2.0.0", "Pass `set_alpha_to_one` instead.", stacklevel=5)
            set_alpha_to_one = given.pop("set_alpha_to_zero")
            self.register_to_config(set_alpha_to_one=set_alpha_to_one)
        if given:
            logger.warning("Arguments of DDIMInverseScheduler that have no effect: %s.", ", ".join(given))
        return set_alpha_to_one

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps."""
        config = self.config
        n = check_num_steps(num_inference_steps, config.num_train_timesteps)
        steps = spaced_timesteps(config.timestep_spacing, config.num_train_timesteps, n, config.steps_offset)
        self.timesteps = steps[::-1].astype(np.int64)
        self.num_inference_steps = n

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        return_dict: bool | float = True,
        generator: Generator = None,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
        variance_noise: paddle.Tensor | None = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Compute the sample at `timestep` from the previous, less noisy one (eq. 12 of DDIM).

        Args:
            model_output: the network's prediction, [B, C, ...].
            timestep: the timestep at the end of the step.
            sample: x at the previous timestep, [B, C, ...].
            return_dict: return a `SchedulerOutput`, otherwise a tuple. A float is `eta`, which is the fourth argument
                in ppdiffusers 0.29.
            generator, eta, use_clipped_model_output, variance_noise: ignored, arguments of `DDIMScheduler.step`; this
                scheduler adds no noise.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        config, target = self.config, as_scalar(timestep)
        t = min(target - config.num_train_timesteps // self.num_inference_steps, config.num_train_timesteps - 1)
        a, a_next = self.alpha_bar(t, self.host_initial_alpha_cumprod), self.alpha_bar(target)
        alpha, sigma = a**0.5, (1 - a) ** 0.5
        x, output = upcast(sample), upcast(model_output)

        x0 = to_x0(config.prediction_type, output, x, alpha, sigma)
        if sigma == 0 and config.prediction_type == "sample":
            eps = paddle.zeros_like(x)  # a clean sample has no noise
        else:
            eps = to_epsilon(config.prediction_type, output, x, alpha, sigma)
        x0 = limit_x0(config, x0)
        prev = combine((a_next**0.5, x0), ((1 - a_next) ** 0.5, eps))
        return step_result(isinstance(return_dict, float) or return_dict, downcast(prev, sample), downcast(x0, sample))
