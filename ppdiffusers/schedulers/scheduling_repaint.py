"""RePaint: inpainting by resampling (Lugmayr et al. 2022, https://arxiv.org/abs/2201.09865, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import TensorAttribute
from ppdiffusers.schedulers.common.noise_schedule import NoiseSchedule, VariancePreserving, check_training_timestep
from ppdiffusers.schedulers.common.prediction import check_shapes, combine, downcast, to_x0, upcast
from ppdiffusers.schedulers.common.spacing import check_num_steps, training_timesteps
from ppdiffusers.schedulers.common.stepping import as_scalar
from ppdiffusers.schedulers.common.types import Timestep
from ppdiffusers.schedulers.scheduling_ddim import ddim_variance
from ppdiffusers.schedulers.scheduling_utils import SchedulerMixin, SchedulerOutput, step_result
from ppdiffusers.utils.dummy_inputs import normal
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

RePaintSchedulerOutput = SchedulerOutput


class RePaintScheduler(VariancePreserving, SchedulerMixin):
    """DDIM for the unknown pixels, the noised image for the known ones, and jumps back in time to harmonize both.

    Args:
        eta: the amount of added noise, see `DDIMScheduler.step`.
        See `DDPMScheduler` for the other arguments.
    """

    init_noise_sigma = 1.0
    final_alpha_cumprod = TensorAttribute()
    host_final_alpha_cumprod = final_alpha_cumprod.host

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
        self.timesteps = training_timesteps(num_train_timesteps)
        self.final_alpha_cumprod = np.float32(1)
        self.eta = eta

    def set_timesteps(
        self, num_inference_steps: int, jump_length: int = 10, jump_n_sample: int = 10, device: object = None
    ) -> None:
        """Set the timesteps of a run.

        Args:
            num_inference_steps: number of steps without the jumps.
            jump_length: number of steps between jumps, and number of steps of a jump back.
            jump_n_sample: number of passes through each of these intervals.
            device: ignored.
        """
        n = min(self.config.num_train_timesteps, check_num_steps(num_inference_steps))
        jumps = dict.fromkeys(range(0, n - jump_length, jump_length), jump_n_sample - 1)
        timesteps, t = [], n
        while t >= 1:
            t -= 1
            timesteps.append(t)
            if jumps.get(t, 0) > 0:
                jumps[t] -= 1
                timesteps += range(t + 1, t + jump_length + 1)
                t += jump_length
        self.timesteps = np.array(timesteps, dtype=np.int64) * (self.config.num_train_timesteps // n)
        self.num_inference_steps = n

    def step(
        self,
        model_output: paddle.Tensor,
        timestep: Timestep,
        sample: paddle.Tensor,
        original_image: paddle.Tensor,
        mask: paddle.Tensor,
        generator: Generator = None,
        return_dict: bool = True,
    ) -> SchedulerOutput | tuple[paddle.Tensor, ...]:
        """Compute x_{t-1} from x_t: known pixels from the image (eq. 8a), unknown ones by DDIM (eq. 8b and 8c).

        Args:
            model_output: the predicted noise at `timestep`, [B, C, H, W].
            timestep: t.
            sample: x_t, [B, C, H, W].
            original_image: the image, [B, C, H, W].
            mask: 1 for known pixels, 0 for pixels to generate, [B, 1, H, W].
            generator: source of the noise, which both parts share.
            return_dict: return a `SchedulerOutput`, otherwise a tuple.
        """
        self._require_timesteps()
        check_shapes(model_output, sample)
        _check_image_and_mask(original_image, mask, sample)
        t = as_scalar(timestep)
        prev_t = t - self.config.num_train_timesteps // self.num_inference_steps
        a, a_prev = self.alpha_bar(t), self.alpha_bar(prev_t, self.host_final_alpha_cumprod)
        x, eps = upcast(sample), upcast(model_output)

        x0 = to_x0("epsilon", eps, x, a**0.5, (1 - a) ** 0.5)
        x0 = x0.clip(-1, 1) if self.config.clip_sample else x0
        noise = upcast(randn_tensor(model_output.shape, generator=generator, dtype=model_output.dtype))
        std = float(self.eta * ddim_variance(a, a_prev) ** 0.5)
        direction = np.maximum(1 - a_prev - std**2, 0) ** 0.5
        unknown = combine((a_prev**0.5, x0), (direction, eps), (std if t > 0 else 0, noise))
        known = combine((a_prev**0.5, upcast(original_image)), ((1 - a_prev) ** 0.5, noise))
        mask = upcast(mask).expand_as(x)  # broadcasting products are slow in Paddle
        prev = mask * known + (1 - mask) * unknown
        return step_result(return_dict, downcast(prev, sample), downcast(x0, sample))

    def undo_step(self, sample: paddle.Tensor, timestep: Timestep, generator: Generator = None) -> paddle.Tensor:
        """Go one inference step back in time by steps of the forward process with new noise, [B, C, H, W]."""
        self._require_timesteps()
        x, t = upcast(sample), int(as_scalar(timestep))
        jump = self.config.num_train_timesteps // check_num_steps(self.num_inference_steps)
        check_training_timestep(t, self.config.num_train_timesteps - jump + 1)
        for i in range(jump):
            beta = float(self.host_betas[t + i])
            noise = upcast(randn_tensor(sample.shape, generator=generator, dtype=sample.dtype))
            x = combine(((1 - beta) ** 0.5, x), (beta**0.5, noise))
        return downcast(x, sample)

    def add_noise(self, *args: Any, **kwargs: Any) -> paddle.Tensor:
        """Refuse to add noise: networks for RePaint are trained with `DDPMScheduler.add_noise`.

        Raises:
            InputError: always.
        """
        raise InputError("RePaint is for sampling only.", remedy="use DDPMScheduler.add_noise for training")

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


def _check_image_and_mask(original_image: paddle.Tensor, mask: paddle.Tensor, sample: paddle.Tensor) -> None:
    shape = list(sample.shape)
    problems = [
        f"{name}: {list(tensor.shape)}"
        for name, tensor in (("original_image", original_image), ("mask", mask))
        if tensor.ndim != len(shape) or any(n not in (1, size) for n, size in zip(tensor.shape, shape))
    ]
    if problems:
        raise InputError(
            "The image or the mask does not match the sample.",
            problems=problems,
            expected=f"shapes that broadcast to the shape of the sample, {shape}",
        )
