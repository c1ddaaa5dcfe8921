"""What inpainting with Stable Diffusion XL shares: the mask processor, latents of image and mask, the crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.stable_diffusion_xl.img2img_base import StableDiffusionXLImg2ImgBase
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.inpaint import prepare_inpaint_latents, prepare_mask_and_image
from ppdiffusers.utils.torch_utils import Generator


class StableDiffusionXLInpaintBase(StableDiffusionXLImg2ImgBase):
    """Components of `StableDiffusionXLImg2ImgBase` with a UNet of 4 or 9 input channels."""

    def _register_with_vae(self, **components: Any) -> None:
        super()._register_with_vae(**components)
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
        add_noise: bool = True,
        return_noise: bool = False,
        return_image_latents: bool = False,
    ) -> tuple[paddle.Tensor | None, ...]:
        """(initial latents, noise if requested, latents of the image or None if requested), [B, C, h, w] each."""
        size = (height // self.vae_scale_factor, width // self.vae_scale_factor)
        with self._vae_in_float32(paddle.float16, paddle.bfloat16):
            known = prepare_inpaint_latents(
                self.scheduler,
                self.vae,
                shape=(batch_size, num_channels_latents, *size),
                dtype=dtype,
                generator=generator,
                latents=latents,
                image=image,
                timestep=timestep,
                is_strength_max=is_strength_max,
                encode=return_image_latents,
                add_noise=add_noise,
            )
        return known.requested(return_noise, return_image_latents)

    @device_is_optional
    def prepare_mask_latents(
        self,
        mask: paddle.Tensor,
        masked_image: paddle.Tensor | None,
        batch_size: int,
        height: int,
        width: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator,
        do_classifier_free_guidance: bool,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Mask [2B or B, 1, h, w] and latents of the masked image [2B or B, C, h, w], as the UNet reads them."""
        size = (height // self.vae_scale_factor, width // self.vae_scale_factor)
        with self._vae_in_float32(paddle.float16, paddle.bfloat16):
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

    def _check_unet(self) -> list[str]:
        channels = self.unet.config.in_channels
        return [] if channels in (4, 9) else [f"the UNet accepts {channels} channels; 4 or 9 are required to inpaint"]
