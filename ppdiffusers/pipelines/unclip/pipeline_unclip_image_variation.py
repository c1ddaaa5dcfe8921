"""Variations of an image. Ramesh et al., "Hierarchical Text-Conditional Image Generation with CLIP Latents", section
3.1, arXiv 2204.06125."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import paddle
import PIL.Image

from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.clip_images import check_clip_images, clip_pixels, count_images
from ppdiffusers.pipelines.stages.denoise import inference
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.pipelines.stages.prior import encode_for_prior
from ppdiffusers.pipelines.unclip.base import Latents, UnCLIPBase
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.unets.unet_2d import UNet2DModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.unclip.text_proj import UnCLIPTextProjModel
    from ppdiffusers.schedulers.scheduling_unclip import UnCLIPScheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )


class UnCLIPImageVariationPipeline(UnCLIPBase):
    """Generate images that have the CLIP embedding of a given image.

    Args:
        feature_extractor, image_encoder: encode images.
        decoder, text_encoder, tokenizer, text_proj, super_res_first, super_res_last, decoder_scheduler,
            super_res_scheduler: those of `UnCLIPPipeline`.
    """

    feature_extractor: CLIPImageProcessor
    image_encoder: CLIPVisionModelWithProjection

    def __init__(
        self,
        decoder: UNet2DConditionModel,
        text_encoder: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        text_proj: UnCLIPTextProjModel,
        feature_extractor: CLIPImageProcessor,
        image_encoder: CLIPVisionModelWithProjection,
        super_res_first: UNet2DModel,
        super_res_last: UNet2DModel,
        decoder_scheduler: UnCLIPScheduler,
        super_res_scheduler: UnCLIPScheduler,
    ):
        super().__init__()
        self._register(
            decoder=decoder,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_proj=text_proj,
            feature_extractor=feature_extractor,
            image_encoder=image_encoder,
            super_res_first=super_res_first,
            super_res_last=super_res_last,
            decoder_scheduler=decoder_scheduler,
            super_res_scheduler=super_res_scheduler,
        )

    @inference
    def __call__(
        self,
        image: PIL.Image.Image | list[PIL.Image.Image] | paddle.Tensor | None = None,
        num_images_per_prompt: int = 1,
        decoder_num_inference_steps: int = 25,
        super_res_num_inference_steps: int = 7,
        generator: Generator = None,
        decoder_latents: Latents = None,
        super_res_latents: Latents = None,
        image_embeddings: paddle.Tensor | None = None,
        decoder_guidance_scale: float = 8.0,
        output_type: str | None = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple:
        """Generate variations of images.

        Arguments that are not listed are those of `UnCLIPPipeline`.

        Args:
            image: PIL images, or a tensor [N, 3, h, w] of images preprocessed by the feature extractor.
            num_images_per_prompt: number of variations of each image.
            image_embeddings: instead of `image`, CLIP embeddings [N, D]; for interpolation between images, for example.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        batch = _num_images(image, image_embeddings)
        checks.raise_problems(
            self,
            _check_image(image, image_embeddings, batch),
            checks.check_components(self.components, *(["image_encoder"] if image_embeddings is None else [])),
            self._check_common(
                batch=batch,
                generator=generator,
                output_type=output_type,
                num_images_per_prompt=num_images_per_prompt,
                decoder_guidance_scale=decoder_guidance_scale,
                decoder_num_inference_steps=decoder_num_inference_steps,
                super_res_num_inference_steps=super_res_num_inference_steps,
                decoder_latents=decoder_latents,
                super_res_latents=super_res_latents,
            ),
        )
        generator, finite = as_generator(generator), FiniteCheck()
        guided = decoder_guidance_scale > 1.0

        # 1. CLIP's embeddings of the images and of empty prompts
        if image_embeddings is None:
            pixels = clip_pixels(image, self.feature_extractor, self.image_encoder)  # [N, 3, h, w]
            image_embeddings = self.image_encoder(pixels).image_embeds
        image_embeddings = image_embeddings.repeat_interleave(num_images_per_prompt, axis=0)  # [B, D]
        prompts = encode_for_prior(self._prompt_encoder, [""]).repeat(image_embeddings.shape[0])
        if guided:
            prompts = prompts.with_unconditional(self._prompt_encoder)

        # 2. small images, and from these the images
        image_small = self._decode_embeddings(
            image_embeddings,
            prompts,
            decoder_num_inference_steps,
            decoder_guidance_scale,
            guided,
            generator,
            decoder_latents,
            finite,
        )  # [B, 3, h, w]
        result = self._upscale(image_small, super_res_num_inference_steps, generator, super_res_latents, finite)
        return self._output(result, output_type, return_dict, finite)


def _num_images(image: Any, image_embeddings: Any) -> int | None:
    """The number of images; None if neither argument is valid."""
    if image is not None:
        return count_images(image)
    valid = isinstance(image_embeddings, paddle.Tensor) and image_embeddings.ndim == 2
    return image_embeddings.shape[0] if valid else None


def _check_image(image: Any, image_embeddings: Any, count: int | None) -> list[str]:
    if image is not None and image_embeddings is not None:
        return ["`image` and `image_embeddings` are both given: pass one of them"]
    if image is None and image_embeddings is None:
        return ["neither `image` nor `image_embeddings` is given: pass one of them"]
    if image is not None:
        return check_clip_images(image)
    return [] if count is not None else ["`image_embeddings` must be a Paddle tensor [images, channels]"]
