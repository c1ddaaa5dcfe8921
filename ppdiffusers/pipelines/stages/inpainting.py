"""Painting what a mask uncovers: the latents of the picture, and what the UNet sees of picture and mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
import PIL.Image

from ppdiffusers.pipelines.stages.from_picture import FromPictureMixin
from ppdiffusers.pipelines.stages.images import encode_image, repeat_to
from ppdiffusers.pipelines.stages.latents import first_latents
from ppdiffusers.utils.torch_utils import randn_tensor


def check_crop(padding_mask_crop: Any, image: Any, mask_image: Any, output_type: Any) -> list[str]:
    """A cut-out can be made of one PIL picture only, and put back into it."""
    if padding_mask_crop is None:
        return []
    problems = [
        f"`{name}` must be a PIL picture with `padding_mask_crop`, not {type(value).__name__}"
        for name, value in (("image", image), ("mask_image", mask_image))
        if not isinstance(value, PIL.Image.Image)
    ]
    if output_type != "pil":
        problems.append(f"`output_type` must be 'pil' with `padding_mask_crop`, not {output_type!r}")
    return problems


def check_latents_to_paint(image: Any, masked_image_latents: Any, channels: int) -> list[str]:
    """Nobody can mask a picture by its pixels who has its latents only."""
    latents = isinstance(image, paddle.Tensor) and image.ndim == 4 and image.shape[1] == channels
    if not latents or masked_image_latents is not None:
        return []
    return ["`image` holds latents: `masked_image_latents`, those of the masked picture, are needed too"]


class InpaintingMixin(FromPictureMixin):
    """The steps one by one of a pipeline that paints what a mask uncovers; it stands before `TextGuidedMixin`."""

    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: Any,
        device: Any,
        generator: Any,
        latents: paddle.Tensor | np.ndarray | None = None,
        image: paddle.Tensor | None = None,
        timestep: np.ndarray | None = None,
        is_strength_max: bool = True,
        return_noise: bool = False,
        return_image_latents: bool = False,
    ) -> tuple:
        """(first latents, their noise if asked for, the picture's latents or None if asked for), [B, C, h, w] each.

        The picture is encoded only if the run starts from it or somebody wants its latents.
        """
        shape = (batch_size, num_channels_latents, height // self.vae_scale_factor, width // self.vae_scale_factor)
        image_latents = None
        if return_image_latents or (latents is None and not is_strength_max):
            image_latents = repeat_to(self._encode_vae_image(image, generator).astype(dtype), batch_size)
        sigma = self.scheduler.init_noise_sigma
        noise = randn_tensor(shape, generator=generator, dtype=dtype) if latents is None else latents
        if latents is None and not is_strength_max:
            first = self.scheduler.add_noise(image_latents, noise, timestep)
        else:
            first = first_latents(shape, sigma, dtype, latents=noise)
        noise = first_latents(shape, 1.0, dtype, latents=noise)
        asked = [(True, first), (return_noise, noise), (return_noise or return_image_latents, image_latents)]
        return tuple(value for wanted, value in asked if wanted)

    def prepare_mask_latents(
        self,
        mask: paddle.Tensor,
        masked_image: paddle.Tensor,
        batch_size: int,
        height: int,
        width: int,
        dtype: Any,
        device: Any,
        generator: Any,
        do_classifier_free_guidance: bool,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The mask [2B or B, 1, h, w] and the masked picture's latents [2B or B, C, h, w], as the UNet sees them."""
        size = (height // self.vae_scale_factor, width // self.vae_scale_factor)
        mask = repeat_to(F.interpolate(mask, size=size, mode="nearest"), batch_size, "mask_image").astype(dtype)
        masked = repeat_to(self._encode_vae_image(masked_image, generator), batch_size).astype(dtype)
        times = 2 if do_classifier_free_guidance else 1
        return paddle.concat([mask] * times), paddle.concat([masked] * times)

    def _encode_vae_image(self, image: paddle.Tensor, generator: Any) -> paddle.Tensor:
        """Latents [N, C, h, w] of pictures [N, 3, H, W]; latents stay as they are."""
        if image.shape[1] == self.vae.config.latent_channels:
            return image
        # with one generator for each painted picture, the first ones draw for the pictures given
        return encode_image(self.vae, image, generator[: image.shape[0]] if isinstance(generator, list) else generator)
