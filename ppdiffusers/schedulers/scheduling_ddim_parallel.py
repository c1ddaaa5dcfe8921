"""DDIM for parallel sampling: steps of samples at different timesteps (Shih et al. 2023, arXiv 2305.16317)."""

from __future__ import annotations

import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.parallel import batch_epsilon, batch_levels, batch_x0
from ppdiffusers.schedulers.common.prediction import check_shapes, downcast, limit_x0, upcast
from ppdiffusers.schedulers.common.spacing import check_num_steps
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_ddim import DDIMScheduler
from ppdiffusers.schedulers.scheduling_utils import SchedulerOutput

DDIMParallelSchedulerOutput = SchedulerOutput


class DDIMParallelScheduler(DDIMScheduler):
    """`DDIMScheduler` with a batched step; it has the same arguments."""

    _is_ode_scheduler = True

    def _get_variance(self, timestep: Timestep, prev_timestep: Timestep | None = None) -> paddle.Tensor:
        """Return the variance between a timestep and the previous one of the run, a tensor without axes."""
        if prev_timestep is None:
            self._require_timesteps()
            prev_timestep = as_scalar(timestep) - self._stride()
        return super()._get_variance(timestep, prev_timestep)

    def _stride(self) -> int:
        """Return the distance of two timesteps of the run."""
        if self.custom_timesteps:
            raise InputError("Parallel sampling needs timesteps of equal distance.", expected="set_timesteps(50)")
        return self.config.num_train_timesteps // check_num_steps(self.num_inference_steps)

    def batch_step_no_noise(
        self,
        model_output: paddle.Tensor,
        timesteps: object,
        sample: paddle.Tensor,
        eta: float = 0.0,
        use_clipped_model_output: bool = False,
    ) -> paddle.Tensor:
        """Compute x_{t-1} from x_t without noise, each sample at its own timestep (eq. 12), [B, C, ...].

        Args:
            model_output: the network's predictions, [B, C, ...].
            timesteps: t of each sample, integers [B].
            sample: x_t, [B, C, ...].
            eta: 0; with noise the result would not be deterministic.
            use_clipped_model_output: recompute the predicted noise from the clipped x_0.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        if eta != 0:
            raise InputError("A step without noise requires eta=0.", where=f"eta={eta}")
        kind, x, output = self.config.prediction_type, upcast(sample), upcast(model_output)
        alpha_bar, alpha_bar_prev = batch_levels(self.host_alphas_cumprod, timesteps, self._stride(), x)  # [B, 1, ...]

        x0 = limit_x0(self.config, batch_x0(kind, output, x, alpha_bar))
        if use_clipped_model_output:
            eps = batch_epsilon("sample", x0, x, alpha_bar)
        else:
            eps = batch_epsilon(kind, output, x, alpha_bar)
        return downcast(alpha_bar_prev.sqrt() * x0 + (1 - alpha_bar_prev).sqrt() * eps, sample)
