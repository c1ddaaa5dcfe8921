"""RePaint: inpainting by resampling (Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving, check_training_timestep
from ppdiffusers.schedulers.common.prediction import check_shapes, combine, downcast, to_x0, upcast
from ppdiffusers.schedulers.common.spacing import check_num_steps, visit_training
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.scheduling_ddim import ddim_variance
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.dummy_inputs import normal
from ppdiffusers.utils.torch_utils import randn_tensor

RePaintSchedulerOutput = SchedulerOutput


class RePaintScheduler(VariancePreserving, SchedulerMixin):
    """DDIM inside the mask, the noised picture outside, and jumps back in time that let both agree.

    Args:
        eta: share of fresh noise, as in `DDIMScheduler.step`.
        The other arguments are those of `DDPMScheduler`.
    """

    init_noise_sigma = 1.0
    final_alpha_cumprod = np.float32(1)

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0001,
        beta_end: float = 0.02,
        beta_schedule: str = "linear",
        eta: float = 0.0,
        trained_betas: np.ndarray | None = None,
        clip_sample: bool = True,
    ):
        self.noise_schedule = NoiseSchedule.from_config(self.config)
        self.timesteps = visit_training(num_train_timesteps)
        self.eta = eta

    def set_timesteps(
        self, num_inference_steps: int, jump_length: int = 10, jump_n_sample: int = 10, device: Any = None
    ) -> None:
        """Falling timesteps with jumps: after every `jump_length` steps, as many back, `jump_n_sample` - 1 times."""
        n = min(self.config.num_train_timesteps, check_num_steps(num_inference_steps))
        jumps = dict.fromkeys(range(0, n - jump_length, jump_length), jump_n_sample - 1)
        visited, t = [], n
        while t >= 1:
            t -= 1
            visited.append(t)
            if jumps.get(t, 0) > 0:
                jumps[t] -= 1
                visited += range(t + 1, t + jump_length + 1)
                t += jump_length
        self.timesteps = np.array(visited, dtype=np.int64) * (self.config.num_train_timesteps // n)
        self.num_inference_steps = n

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: int,
        sample: paddle.Tensor,
        original_image: paddle.Tensor,
        mask: paddle.Tensor,
        generator: Any = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple:
        """x_t -> x_{t-1}: known pixels from the picture (eq. 8a), unknown ones by DDIM (eq. 8b), joined (eq. 8c).

        Args:
            model_output: the predicted noise at `timestep`, [B, C, H, W].
            timestep: t.
            sample: x_t, [B, C, H, W].
            original_image: the picture, [B, C, H, W].
            mask: [B, 1, H, W], 1 where pixels are known and 0 where they are painted.
            generator: of the noise, which both parts share.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        _check_picture(original_image, mask, sample)
        t = as_scalar(timestep)
        prev_t = t - self.config.num_train_timesteps // self.num_inference_steps
        a, a_prev = self.alpha_bar(t), self.alpha_bar(prev_t, self.final_alpha_cumprod)
        x, eps = upcast(sample), upcast(model_output)

        x0 = to_x0("epsilon", eps, x, a**0.5, (1 - a) ** 0.5)
        x0 = x0.clip(-1, 1) if self.config.clip_sample else x0
        noise = upcast(randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype))
        std = float(self.eta * ddim_variance(a, a_prev) ** 0.5)
        direction = max(1 - a_prev - std**2, 0) ** 0.5
        unknown = combine((a_prev**0.5, x0), (direction, eps), (std if t > 0 else 0, noise))
        known = combine((a_prev**0.5, upcast(original_image)), ((1 - a_prev) ** 0.5, noise))
        mask = upcast(mask).expand_as(x)  # Paddle's products that broadcast are slow
        prev = mask * known + (1 - mask) * unknown
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))

    def undo_step(self, sample: paddle.Tensor, timestep: int, generator: Any = None) -> paddle.Tensor:
        """One inference step back in time: as many training steps of the forward process, each with new noise."""
        self._require_timesteps()
        x, t = upcast(sample), as_scalar(timestep)
        jump = self.config.num_train_timesteps // self.num_inference_steps
        check_training_timestep(t, self.config.num_train_timesteps - jump + 1)
        for i in range(jump):
            beta = float(self.betas[t + i])
            noise = upcast(randn_tensor(sample.shape, generator=generator, dtype=sample.dtype))
            x = combine(((1 - beta) ** 0.5, x), (beta**0.5, noise))
        return downcast(x, sample)

    def add_noise(self, *args: Any, **kwargs: Any) -> paddle.Tensor:
        """Raises:
        InputError: always; networks for RePaint are trained with `DDPMScheduler.add_noise`.
        """
        raise InputError("RePaint is for sampling only.", remedy="train with DDPMScheduler.add_noise")

    @staticmethod
    def reference_outputs(
        scheduler: Any, rng: np.random.Generator, tensor: Callable[[np.ndarray], Any], noise: Mapping[str, Any]
    ) -> dict[str, Any]:
        scheduler.set_timesteps(10, 2, 2)
        sample, prediction, image = (tensor(normal(rng, 2, 3, 8, 8)) for _ in range(3))  # [B, C, H, W]
        mask = tensor(rng.integers(0, 2, (2, 1, 8, 8)).astype(np.float32))  # [B, 1, H, W]
        step = scheduler.step(prediction, scheduler.timesteps[0], sample, image, mask, **noise)
        undone = scheduler.undo_step(step.prev_sample, scheduler.timesteps[1], **noise)
        return {"timesteps": scheduler.timesteps, "prev_sample": step.prev_sample, "undone": undone}


def _check_picture(original_image: paddle.Tensor, mask: paddle.Tensor, sample: paddle.Tensor) -> None:
    shape = list(sample.shape)
    problems = [
        f"{name}: {list(tensor.shape)}"
        for name, tensor in (("original_image", original_image), ("mask", mask))
        if tensor.ndim != len(shape) or any(n not in (1, size) for n, size in zip(tensor.shape, shape))
    ]
    if problems:
        raise InputError(
            "The picture or the mask does not fit the sample.",
            problems=problems,
            expected=f"sizes that broadcast to the sample's, {shape}",
        )
