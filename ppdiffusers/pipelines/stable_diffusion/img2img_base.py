"""What pipelines that start from a noised image share (SDEdit, arXiv 2108.01073)."""

from __future__ import annotations

from typing import Any

import paddle

from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.img2img import noised_image_latents
from ppdiffusers.pipelines.stages.timesteps import last_timesteps
from ppdiffusers.utils.torch_utils import Generator


class Img2ImgBase(StableDiffusionBase):
    """diffusers' public methods of pipelines that start from a noised image, as thin wrappers of the stages."""

    @device_is_optional
    def get_timesteps(self, num_inference_steps: int, strength: float, device: Any) -> tuple[paddle.Tensor, int]:
        """The last fraction `strength` of the scheduler's timesteps, and their number of steps."""
        return last_timesteps(self.scheduler, self.scheduler.timesteps, num_inference_steps, strength)

    @device_is_optional
    def prepare_latents(
        self,
        image: paddle.Tensor,
        timestep: paddle.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator = None,
    ) -> paddle.Tensor:
        """Latents [B, C, h, w] of images [N, 3, H, W] or latents [N, C, h, w], noised to `timestep` [B]."""
        noised, _ = noised_image_latents(
            self.scheduler,
            self.vae,
            image=image,
            timestep=timestep,
            batch_size=batch_size * num_images_per_prompt,
            dtype=dtype,
            generator=generator,
        )
        return noised

    def check_inputs(
        self,
        prompt: Any,
        strength: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            checks.check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            checks.check_strength(strength),
            checks.check_callbacks(
                callback_steps=callback_steps,
                tensor_inputs=callback_on_step_end_tensor_inputs,
                allowed=self._callback_tensor_inputs,
            ),
        )
