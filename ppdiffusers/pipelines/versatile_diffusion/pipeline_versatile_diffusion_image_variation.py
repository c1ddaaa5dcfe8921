"""Image variation. Xu et al., "Versatile Diffusion: Text, Images and Variations All in One Diffusion Model",
arXiv 2211.08332."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, inference
from ppdiffusers.pipelines.versatile_diffusion.base import CallSettings, VersatileDiffusionBase
from ppdiffusers.pipelines.versatile_diffusion.conditioned_unet import image_conditioned_unet
from ppdiffusers.pipelines.versatile_diffusion.embeddings import (
    UNCONDITIONAL_IMAGE,
    encode_images,
    num_images,
    with_unconditional,
)

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPVisionModelWithProjection,
    )


class VersatileDiffusionImageVariationPipeline(VersatileDiffusionBase):
    """Generate variations of images.

    Args:
        image_feature_extractor, image_encoder: encode images.
        image_unet: denoises latents of images.
        vae: decodes latents to images.
        scheduler: any scheduler for the noise schedule of the UNet.
    """

    conditioned_unet = staticmethod(image_conditioned_unet)

    def __init__(
        self,
        image_feature_extractor: CLIPImageProcessor,
        image_encoder: CLIPVisionModelWithProjection,
        image_unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        scheduler: Scheduler,
    ):
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
        callback: Callback | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Generate variations of images.

        Args:
            image: an image, or a list or batch [B, C, H, W]; `num_images_per_prompt` variations of each are generated.
                Arrays and tensors contain integers from 0 to 255, or floats from 0 to 1.
            guidance_scale: classifier-free guidance; at 1 or less there is no guidance and each step takes half the
                time.
            negative_prompt: negative images, one for each image; grey by default. They have no effect without guidance.
            height, width, num_inference_steps, eta, generator, latents, output_type, return_dict, callback,
                callback_steps: as in `VersatileDiffusionTextToImagePipeline`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        settings = CallSettings(
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            num_images_per_prompt=num_images_per_prompt,
            eta=eta,
            generator=generator,
            latents=latents,
            output_type=output_type,
            return_dict=return_dict,
            callback=callback,
            callback_steps=callback_steps,
        )
        problems = checks.check_images(image=image)
        if negative_prompt is not None:
            problems += checks.check_images(negative_prompt=negative_prompt)
        count = None if problems else num_images(image)
        if count is not None and negative_prompt is not None and num_images(negative_prompt) != count:
            problems.append(f"`negative_prompt` has {num_images(negative_prompt)} images for {count} of `image`")
        self._check(settings, problems, prompts=count)

        negative_embeds = None
        if settings.guided:
            negatives = [UNCONDITIONAL_IMAGE] * count if negative_prompt is None else negative_prompt
            negative_embeds = encode_images(self.image_feature_extractor, self.image_encoder, negatives)
        embeds = encode_images(self.image_feature_extractor, self.image_encoder, image)  # [B, L, D]
        return self._generate(with_unconditional(embeds, negative_embeds, num_images_per_prompt), settings)

    def check_inputs(self, image: Any, height: Any, width: Any, callback_steps: Any) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            checks.check_images(image=image),
            checks.check_size(height=height, width=width),
            checks.check_counts(callback_steps=callback_steps),
        )
