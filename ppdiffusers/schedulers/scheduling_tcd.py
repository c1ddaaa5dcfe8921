"""TCD: strategic stochastic sampling (Zheng et al. 2024, https://arxiv.org/abs/2402.19159, section 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.schedulers.common.prediction import check_shapes, combine, downcast, to_epsilon, to_x0, upcast
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_lcm import Distilled
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin
from ppdiffusers.utils.torch_utils import Generator, randn_tensor


@dataclass
class TCDSchedulerOutput(BaseOutput):
    """Output of a step.

    Args:
        prev_sample: x_{t-1}, the input of the next step, [B, C, ...].
        pred_noised_sample: the sample predicted at the timestep s, [B, C, ...].
    """

    prev_sample: paddle.Tensor
    pred_noised_sample: paddle.Tensor | None = None


class TCDScheduler(Distilled, SchedulerMixin):
    """Trajectory consistency distillation.

    See `LCMScheduler` for the arguments.
    """

    accepts_eta = True

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: str = "scaled_linear",
        trained_betas: np.ndarray | Sequence[float] | None = None,
        original_inference_steps: int = 50,
        clip_sample: bool = False,
        clip_sample_range: float = 1.0,
        set_alpha_to_one: bool = True,
        steps_offset: int = 0,
        prediction_type: str = "epsilon",
        thresholding: bool = False,
        dynamic_thresholding_ratio: float = 0.995,
        sample_max_value: float = 1.0,
        timestep_spacing: str = "leading",
        timestep_scaling: float = 10.0,
        rescale_betas_zero_snr: bool = False,
    ):
        self._init_distilled()

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: object = None,
        original_inference_steps: int | None = None,
        timesteps: Sequence[int] | None = None,
        strength: float = 1.0,
    ) -> None:
        """Set the number of inference steps, or custom timesteps.

        The steps are selected from those of the distillation, or from all with `original_inference_steps`.
        """
        original = original_inference_steps or self.config.original_inference_steps
        if original_inference_steps is None:
            origin = self._origin(original, strength)
        else:
            origin = np.arange(int(self.config.num_train_timesteps * strength))
        self._set_schedule(origin, num_inference_steps, timesteps, strength, original)

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        eta: float = 0.3,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> TCDSchedulerOutput | tuple[paddle.Tensor, ...]:
        """Step from t to s = (1 - eta) t_prev on the trajectory, then add noise to reach t_prev; none in the last step.

        Args:
            model_output: the network's prediction at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x_t, [B, C, ...].
            eta: gamma of the paper, from 0 (no noise) to 1.
            generator: source of the noise.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        if not 0 <= eta <= 1:
            raise InputError(f"eta={eta} is out of range.", where="eta", expected="a number from 0 to 1")
        i = self._begin_step(timestep)
        prev_t = int(self.host_timesteps[i + 1]) if i + 1 < len(self.host_timesteps) else 0
        a = self.alpha_bar(as_scalar(timestep))
        a_prev, a_s = self.alpha_bar(prev_t), self.alpha_bar(int(np.float32(1 - eta) * np.float32(prev_t)))
        alpha, sigma, kind = a**0.5, (1 - a) ** 0.5, self.config.prediction_type
        x, output = upcast(sample), upcast(model_output)

        x0, eps = to_x0(kind, output, x, alpha, sigma), to_epsilon(kind, output, x, alpha, sigma)
        noised = combine((a_s**0.5, x0), ((1 - a_s) ** 0.5, eps))  # at s
        prev = noised
        if eta > 0 and i + 1 != self.num_inference_steps:
            noise = upcast(randn_tensor(sample.shape, generator=generator, dtype=sample.dtype))
            prev = combine(((a_prev / a_s) ** 0.5, noised), (np.maximum(1 - a_prev / a_s, 0) ** 0.5, noise))
        self._step_index = i + 1
        prev, noised = downcast(prev, sample), downcast(noised, sample)
        return TCDSchedulerOutput(prev, noised) if return_dict else (prev, noised)
