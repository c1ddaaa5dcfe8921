"""Improved PNDM: Adams-Bashforth with lower orders in the first steps (`plms` in v-diffusion of crowsonkb)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.schedulers.common.arrays import TensorAttribute
from ppdiffusers.schedulers.common.noise_schedule import linspace
from ppdiffusers.schedulers.common.prediction import check_shapes, combine, downcast, upcast
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.common.stepping import StepIndex
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.common.updates import adams_bashforth
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.torch_utils import Generator


class IPNDMScheduler(StepIndex, SchedulerMixin):
    """Fourth-order improved pseudo linear multistep method, for audio networks that predict the velocity.

    Here x = alphas x_0 + betas eps with alphas = cos(phi), betas = sin(phi).

    Args:
        trained_betas: the betas, [n + 1], in place of the computed ones.
    """

    init_noise_sigma = 1.0
    betas = TensorAttribute()
    host_betas = betas.host
    alphas = TensorAttribute()
    host_alphas = alphas.host
    pndm_order = 4

    @register_to_config
    def __init__(self, num_train_timesteps: int = 1000, trained_betas: np.ndarray | Sequence[float] | None = None):
        self._set_schedule(num_train_timesteps)

    def set_timesteps(self, num_inference_steps: int, device: object = None) -> None:
        """Set the number of inference steps."""
        self._set_schedule(check_num_steps(num_inference_steps))

    def _set_schedule(self, n: int) -> None:
        self.num_inference_steps = n
        if self.config.trained_betas is not None:
            self.betas = np.asarray(self.config.trained_betas, dtype=np.float32)
        else:
            self.betas = np.sin(linspace(1, 0, n + 1) * np.float32(math.pi / 2)) ** 2
        self.alphas = np.sqrt(1 - self.host_betas**2)
        self.timesteps = (np.arctan2(self.host_betas, self.host_alphas) / np.float32(math.pi) * 2)[:-1]
        self.ets: list[paddle.Tensor] = []  # oldest first
        self._reset_index()

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        return_dict: bool = True,
        generator: Generator = None,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Take a DDIM step with the noise extrapolated from up to four predictions.

        Args:
            model_output: the velocity at `timestep`, [B, C, ...].
            timestep: an element of `timesteps`.
            sample: x at this timestep, [B, C, ...].
            generator: ignored; this scheduler adds no noise.
        """
        check_shapes(model_output, sample)
        i = self._begin_step(timestep)
        x = upcast(sample)
        alpha, sigma = float(self.host_alphas[i]), float(self.host_betas[i])
        alpha_next, sigma_next = float(self.host_alphas[i + 1]), float(self.host_betas[i + 1])

        self.ets = [*self.ets[-3:], combine((sigma, x), (alpha, upcast(model_output)))]
        eps = adams_bashforth(self.ets)
        x0 = combine((1, x), (-sigma, eps)) * (1 / max(alpha, 1e-8))
        prev = combine((alpha_next, x0), (sigma_next, eps))
        self._step_index = i + 1
        return step_result(return_dict, downcast(prev, sample))
