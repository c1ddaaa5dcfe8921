"""What inpainting pipelines share: the mask processor, and public methods of diffusers that wrap the stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.stable_diffusion.img2img_base import Img2ImgBase
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.inpaint import prepare_inpaint_latents, prepare_mask_and_image
from ppdiffusers.utils.torch_utils import Generator


class InpaintBase(Img2ImgBase):
    """Components of `StableDiffusionBase` with a UNet of 4 or 9 input channels."""

    _corrected_settings: tuple[str, ...] = ("steps_offset", "skip_prk_steps")

    def _register(self, requires_safety_checker: bool, **components: Any) -> None:
        unet = components["unet"]
        if unet is not None and unet.config.in_channels not in (4, 9):
            raise ConfigError(
                f"The UNet takes {unet.config.in_channels} channels and cannot inpaint.",
                expected="9 (latents, mask, masked image), or 4 (latents only)",
            )
        super()._register(requires_safety_checker, **components)
        self.mask_processor = VaeImageProcessor(
            vae_scale_factor=self.vae_scale_factor, do_normalize=False, do_binarize=True, do_convert_grayscale=True
        )

    @device_is_optional
    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator,
        latents: paddle.Tensor | np.ndarray | None = None,
        image: paddle.Tensor | None = None,
        timestep: paddle.Tensor | None = None,
        is_strength_max: bool = True,
        return_noise: bool = False,
        return_image_latents: bool = False,
    ) -> tuple[paddle.Tensor | None, ...]:
        """(initial latents, noise if requested, latents of the image or None if requested), [B, C, h, w] each."""
        known = prepare_inpaint_latents(
            self.scheduler,
            self.vae,
            shape=(
                batch_size,
                num_channels_latents,
                height // self.vae_scale_factor,
                width // self.vae_scale_factor,
            ),
            dtype=dtype,
            generator=generator,
            latents=latents,
            image=image,
            timestep=timestep,
            is_strength_max=is_strength_max,
            encode=return_image_latents,
        )
        return known.requested(return_noise, return_image_latents)

    @device_is_optional
    def prepare_mask_latents(
        self,
        mask: paddle.Tensor,
        masked_image: paddle.Tensor,
        batch_size: int,
        height: int,
        width: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator,
        do_classifier_free_guidance: bool,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Mask [2B or B, 1, h, w] and latents of the masked image [2B or B, C, h, w], as the UNet reads them."""
        size = (height // self.vae_scale_factor, width // self.vae_scale_factor)
        return prepare_mask_and_image(
            self.vae,
            mask,
            masked_image,
            size=size,
            batch_size=batch_size,
            dtype=dtype,
            generator=generator,
            guided=do_classifier_free_guidance,
        )
