"""Runs that start from a picture, noised so far that some of the steps are left (SDEdit, arXiv 2108.01073)."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.images import first_image_latents
from ppdiffusers.pipelines.stages.run import last_timesteps
from ppdiffusers.pipelines.stages.text_guided import TextGuidedAloneMixin
from ppdiffusers.utils.torch_utils import randn_tensor


def noised_image_latents(
    scheduler: Any,
    vae: paddle.nn.Layer,
    image: paddle.Tensor,
    timestep: np.ndarray,
    batch_size: int,
    dtype: Any,
    generator: Any,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """(noised latents, clean latents), [batch_size, C, h, w] each.

    Args:
        image: pictures [N, 3, H, W] in [-1, 1], or their latents [N, C, h, w]; N divides batch_size.
        timestep: how far to noise each, [batch_size].
        generator: draws the latents of the pictures, then the noise on them.
    """
    clean = first_image_latents(vae, image, batch_size, generator).astype(dtype)
    noise = randn_tensor(clean.shape, generator=generator, dtype=dtype)
    return scheduler.add_noise(clean, noise, timestep), clean


class FromPictureMixin:
    """The steps one by one of a pipeline that starts from a picture; it stands before `TextGuidedMixin`."""

    def get_timesteps(self, num_inference_steps: int, strength: float, device: Any) -> tuple[np.ndarray, int]:
        """The last share `strength` of the scheduler's timesteps, and how many steps that is."""
        return last_timesteps(self.scheduler, self.scheduler.timesteps, num_inference_steps, strength)

    def prepare_latents(
        self,
        image: paddle.Tensor,
        timestep: np.ndarray,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: Any,
        device: Any,
        generator: Any = None,
    ) -> paddle.Tensor:
        """Pictures [N, 3, H, W] or latents [N, C, h, w] -> latents [B, C, h, w] noised to `timestep` [B]."""
        count = batch_size * num_images_per_prompt
        return noised_image_latents(self.scheduler, self.vae, image, timestep, count, dtype, generator)[0]

    def check_inputs(
        self,
        prompt: Any,
        strength: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
        *more_findings: list[str],
    ) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        checks.refuse(
            self,
            checks.check_prompts(prompt, prompt_embeds, negative_prompt, negative_prompt_embeds),
            checks.check_strength(strength),
            checks.check_callbacks(
                None, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs, None, callback_steps
            ),
            *more_findings,
        )


class FromPictureAloneMixin(FromPictureMixin, TextGuidedAloneMixin):
    """The same for the pipelines that have no place for an image encoder, with all their components."""
