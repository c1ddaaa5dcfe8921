"""Variations of an image, guided by a prompt: Stable unCLIP (arXiv 2204.06125, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stable_diffusion.stable_unclip_base import StableUnCLIPBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.clip_images import check_clip_images, clip_pixels, count_images
from ppdiffusers.pipelines.stages.denoise import Callback, StepCallbacks, inference
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )


class StableUnCLIPImg2ImgPipeline(StableUnCLIPBase):
    """Generate images that have the CLIP embedding of a given image, and match a prompt.

    Denoising starts from noise, not from the image.

    Args:
        feature_extractor, image_encoder: encode images.
        image_normalizer, image_noising_scheduler: add noise to their embeddings.
        tokenizer, text_encoder, unet, scheduler, vae: those of Stable Diffusion 2.
    """

    feature_extractor: CLIPImageProcessor
    image_encoder: CLIPVisionModelWithProjection

    def __init__(
        self,
        feature_extractor: CLIPImageProcessor,
        image_encoder: CLIPVisionModelWithProjection,
        image_normalizer: StableUnCLIPImageNormalizer,
        image_noising_scheduler: Scheduler,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        vae: AutoencoderKL,
    ):
        self._register_components(
            feature_extractor=feature_extractor,
            image_encoder=image_encoder,
            image_normalizer=image_normalizer,
            image_noising_scheduler=image_noising_scheduler,
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            unet=unet,
            scheduler=scheduler,
            vae=vae,
        )

    @inference
    def __call__(
        self,
        image: PIL.Image.Image | list[PIL.Image.Image] | paddle.Tensor | None = None,
        prompt: str | list[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 10,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        noise_level: int = 0,
        image_embeds: paddle.Tensor | None = None,
        clip_skip: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> ImagePipelineOutput | tuple:
        """Generate variations of images.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            image: one PIL image for all prompts, a list with one for each prompt, or a tensor [N, 3, h, w] of images
                preprocessed by the feature extractor.
            prompt: by default empty.
            latents: initial latents [B, C, height / 8, width / 8]. As in diffusers they are not multiplied by the
                scheduler's first sigma.
            return_dict: if False, return `(images,)`.
            noise_level: noise added to the image embeddings, a timestep of `image_noising_scheduler`; a higher level
                gives more varied images.
            image_embeds: instead of `image`, CLIP embeddings [N, D], one for each prompt.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        callbacks = StepCallbacks(None, ("latents",), callback, callback_steps)
        height, width = self._size_of_each(height, width)
        if prompt is None and prompt_embeds is None:
            prompt = [""] * len(image) if isinstance(image, list) else ""
        channels, prompts = self.unet.config.in_channels, checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt=prompt,
                image=image,
                height=height,
                width=width,
                callback_steps=callback_steps,
                noise_level=noise_level,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                image_embeds=image_embeds,
            ),
            self._check_sampling(
                callbacks,
                latents=latents,
                generator=generator,
                prompts=prompts,
                channels=channels,
                height=height,
                width=width,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. prompts, and the noised image embeddings
        conditioning = self._conditioning(
            prompt=prompt,
            negative_prompt=negative_prompt,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            num_images_per_prompt=num_images_per_prompt,
            clip_skip=clip_skip,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        embeds = conditioning.guided()  # [2B or B, L, D]
        if image_embeds is None:
            pixels = clip_pixels(image, self.feature_extractor, self.image_encoder)  # [N, 3, h, w]
            image_embeds = self.image_encoder(pixels).image_embeds  # [N, D]
        # the images of a prompt share the noise
        image_embeds = self.noise_image_embeddings(image_embeds, noise_level, generator=generator)  # [N, 2D]
        image_embeds = image_embeds.repeat_interleave(batch_size // image_embeds.shape[0], axis=0)  # [B, 2D]

        # 2. latents
        timesteps, num_inference_steps = self._timesteps(num_inference_steps)
        if latents is None:
            latents = self.prepare_latents(
                batch_size, channels, height, width, embeds.dtype, self.device, generator, latents
            )  # [B, C, h, w]
        elif isinstance(latents, np.ndarray):
            latents = paddle.to_tensor(latents)
        return self._denoise(
            self._with_unconditional_image(image_embeds),
            embeds,
            latents.astype(embeds.dtype),
            timesteps,
            num_inference_steps,
            callbacks,
            self.prepare_extra_step_kwargs(generator, eta),
            output_type,
            return_dict,
        )

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        noise_level: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        image_embeds: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            self._check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                callback_steps=callback_steps,
            ),
            checks.check_size(height=height, width=width),
            self._check_noise_level(noise_level),
            _check_images(image, image_embeds, checks.num_prompts(prompt, prompt_embeds)),
        )


def _check_images(image: Any, image_embeds: Any, prompts: int | None) -> list[str]:
    """Either images or their embeddings are given, one or one for each prompt."""
    if image is not None and image_embeds is not None:
        return ["`image` and `image_embeds` are both given: pass one of them"]
    if image is None and image_embeds is None:
        return ["neither `image` nor `image_embeds` is given: pass one of them"]
    if image is not None:
        name, count, problems = "image", count_images(image), check_clip_images(image)
    else:
        name, count, problems = "image_embeds", None, []
        if isinstance(image_embeds, paddle.Tensor) and image_embeds.ndim == 2:
            count = image_embeds.shape[0]
        else:
            found = getattr(image_embeds, "shape", type(image_embeds).__name__)
            problems = [f"`image_embeds` must be a Paddle tensor [images, channels], not {found}"]
    if problems or prompts in (None, count) or isinstance(image, PIL.Image.Image):
        return problems
    return [f"`{name}` has {count} image(s) for {prompts} prompt(s)"]
