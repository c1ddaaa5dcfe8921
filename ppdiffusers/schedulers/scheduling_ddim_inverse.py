"""DDIM run backwards: from a clean sample to the noise that DDIM turns into it (Mokady et al. 2022, eq. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
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
from ppdiffusers.utils.torch_utils import Generator


class DDIMInverseScheduler(VariancePreserving, SchedulerMixin):
    """The inverse of `DDIMScheduler`, https://arxiv.org/abs/2211.09794; its arguments mean the same.

    Args:
        set_alpha_to_one: the step from the clean sample starts at alpha_bar = 1, otherwise at that of timestep 0.
    """

    init_noise_sigma = 1.0
    renamed_config_keys = {"set_alpha_to_zero": "set_alpha_to_one"}

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
    ):
        check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
        check_choice("timestep_spacing", timestep_spacing, ("leading", "trailing"))
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self.initial_alpha_cumprod = np.float32(1) if set_alpha_to_one else self.alphas_cumprod[0]
        self.timesteps = np.arange(num_train_timesteps, dtype=np.int64)

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Choose how many timesteps to visit."""
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
        return_dict: bool = True,
        generator: Generator = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """DDIM's eq. 12 from the cleaner level to that of `timestep`.

        Args:
            model_output: the network's prediction, [B, C, ...].
            timestep: where the step leads.
            sample: x one step nearer to the clean sample, [B, C, ...].
            generator: taken for uniformity; nothing is drawn.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        config, target = self.config, as_scalar(timestep)
        t = min(target - config.num_train_timesteps // self.num_inference_steps, config.num_train_timesteps - 1)
        a, a_next = self.alpha_bar(t, self.initial_alpha_cumprod), self.alpha_bar(target)
        alpha, sigma = a**0.5, (1 - a) ** 0.5
        x, output = upcast(sample), upcast(model_output)

        x0 = to_x0(config.prediction_type, output, x, alpha, sigma)
        if sigma == 0 and config.prediction_type == "sample":
            eps = paddle.zeros_like(x)  # a clean sample has no noise
        else:
            eps = to_epsilon(config.prediction_type, output, x, alpha, sigma)
        x0 = limit_x0(config, x0)
        prev = combine((a_next**0.5, x0), ((1 - a_next) ** 0.5, eps))
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))
