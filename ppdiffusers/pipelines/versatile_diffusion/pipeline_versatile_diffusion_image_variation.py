"""Variations of pictures. Xu et al., "Versatile Diffusion: Text, Images and Variations All in One Diffusion Model",
arXiv 2211.08332."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.run import inference
from ppdiffusers.pipelines.versatile_diffusion.conditions import (
    NO_PICTURE,
    picture_tokens,
    pictures_in,
    with_nothing_first,
)
from ppdiffusers.pipelines.versatile_diffusion.painting import PaintingMixin, Settings
from ppdiffusers.pipelines.versatile_diffusion.unet_surgery import attend_to_pictures


class VersatileDiffusionImageVariationPipeline(PaintingMixin, DiffusionPipeline):
    """Pictures that are like a picture.

    Args:
        image_feature_extractor, image_encoder: a `CLIPImageProcessor` and a `CLIPVisionModelWithProjection`.
        image_unet: a `UNet2DConditionModel` over latents of pictures.
        vae: an `AutoencoderKL`, between pictures and latents.
        scheduler: any scheduler for the UNet's noise schedule.
    """

    _attend = staticmethod(attend_to_pictures)

    def __init__(self, image_feature_extractor: Any, image_encoder: Any, image_unet: Any, vae: Any, scheduler: Any):
        super().__init__()
        self._register(
            image_feature_extractor=image_feature_extractor,
            image_encoder=image_encoder,
            image_unet=image_unet,
            vae=vae,
            scheduler=scheduler,
        )

    @inference
    def __call__(
        self,
        image: PIL.Image.Image | list[PIL.Image.Image] | paddle.Tensor,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: PIL.Image.Image | list[PIL.Image.Image] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Paint variations.

        Args:
            image: the picture, or a list or batch [B, C, H, W] of them; `num_images_per_prompt` variations of each.
                Arrays and tensors hold 0 to 255, or fractions from 0 to 1.
            guidance_scale: how close to keep to it; 1 or less is without guidance and twice as fast.
            negative_prompt: pictures to keep away from, one for each; grey by default. Without guidance they have no
                effect.
            height, width, num_inference_steps, eta, generator, latents, output_type, return_dict, callback,
                callback_steps: as in `VersatileDiffusionTextToImagePipeline`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        settings = Settings(
            height, width, num_inference_steps, guidance_scale, num_images_per_prompt, eta, generator, latents,
            output_type, return_dict, callback, callback_steps,
        )  # fmt: skip
        findings = checks.check_pictures(image=image)
        if negative_prompt is not None:
            findings += checks.check_pictures(negative_prompt=negative_prompt)
        count = None if findings else pictures_in(image)
        if count is not None and negative_prompt is not None and pictures_in(negative_prompt) != count:
            findings.append(f"`negative_prompt` has {pictures_in(negative_prompt)} pictures for {count} of `image`")
        self._check(settings, count, findings)

        nothing = None
        if settings.guided:
            avoided = [NO_PICTURE] * count if negative_prompt is None else negative_prompt
            nothing = picture_tokens(self.image_feature_extractor, self.image_encoder, avoided)
        tokens = picture_tokens(self.image_feature_extractor, self.image_encoder, image)  # [B, L, D]
        return self._paint(with_nothing_first(tokens, nothing, num_images_per_prompt), settings)

    def check_inputs(self, image: Any, height: Any, width: Any, callback_steps: Any) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        checks.refuse(
            self,
            checks.check_pictures(image=image),
            checks.check_size(height, width),
            checks.check_counts(callback_steps=callback_steps),
        )
