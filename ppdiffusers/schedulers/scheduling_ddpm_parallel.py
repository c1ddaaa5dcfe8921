"""DDPM for parallel sampling: steps of samples at different timesteps (Shih et al. 2023, arXiv 2305.16317)."""

from __future__ import annotations

import paddle

from ppdiffusers.schedulers.common.parallel import batch_levels, batch_x0
from ppdiffusers.schedulers.common.prediction import (
    check_shapes,
    downcast,
    limit_x0,
    split_learned_variance,
    upcast,
)
from ppdiffusers.schedulers.scheduling_ddpm import DDPMScheduler
from ppdiffusers.schedulers.scheduling_utils import SchedulerOutput

DDPMParallelSchedulerOutput = SchedulerOutput


class DDPMParallelScheduler(DDPMScheduler):
    """`DDPMScheduler` with a batched step; it has the same arguments."""

    _is_ode_scheduler = False

    def batch_step_no_noise(
        self, model_output: paddle.Tensor, timesteps: object, sample: paddle.Tensor
    ) -> paddle.Tensor:
        """Compute the mean of q(x_{t-1} | x_t, x_0) (eq. 7), each sample at its own timestep, [B, C, ...].

        Args:
            model_output: the network's predictions, [B, C, ...], or [B, 2C, ...] with a learned variance.
            timesteps: t of each sample, integers [B].
            sample: x_t, [B, C, ...].
        """
        if self.variance_type in ("learned", "learned_range"):
            model_output, _ = split_learned_variance(model_output, sample)
        check_shapes(model_output, sample)
        config, x = self.config, upcast(sample)
        stride = config.num_train_timesteps // (self.num_inference_steps or config.num_train_timesteps)
        alpha_bar, alpha_bar_prev = batch_levels(self.host_alphas_cumprod, timesteps, stride, x)  # [B, 1, ...]
        alpha = alpha_bar / alpha_bar_prev

        x0 = limit_x0(config, batch_x0(config.prediction_type, upcast(model_output), x, alpha_bar))
        of_x0 = alpha_bar_prev.sqrt() * (1 - alpha) / (1 - alpha_bar)
        of_sample = alpha.sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar)
        return downcast(of_x0 * x0 + of_sample * x, sample)
