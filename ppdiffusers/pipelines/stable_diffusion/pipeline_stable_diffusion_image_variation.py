"""Variations of an image: Stable Diffusion fine-tuned to read the CLIP embedding of an image instead of a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.pipelines.stable_diffusion.base import LatentDiffusionBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.clip_images import check_clip_images, clip_pixels, count_images
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import CLIPImageProcessor, CLIPVisionModelWithProjection


class StableDiffusionImageVariationPipeline(LatentDiffusionBase):
    """Generate variations of images.

    Args:
        vae: decodes latents to images.
        image_encoder: encodes the images.
        unet: reads image embeddings, such as that of lambdalabs/sd-image-variations-diffusers.
        scheduler: any scheduler for the noise schedule of the UNet.
        safety_checker: flags objectionable images, which are returned black; or None.
        feature_extractor: preprocesses images for the image encoder and the safety checker.
        requires_safety_checker: whether to warn if there is no safety checker.
    """

    _optional_components = ("safety_checker",)
    _corrected_settings = ()

    image_encoder: CLIPVisionModelWithProjection

    def __init__(
        self,
        vae: AutoencoderKL,
        image_encoder: CLIPVisionModelWithProjection,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        safety_checker: StableDiffusionSafetyChecker | None,
        feature_extractor: CLIPImageProcessor,
        requires_safety_checker: bool = True,
    ):
        super().__init__()
        self._register(
            requires_safety_checker,
            vae=vae,
            image_encoder=image_encoder,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
        )

    @inference
    def __call__(
        self,
        image: PIL.Image.Image | list[PIL.Image.Image] | paddle.Tensor,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Generate variations of images.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            image: PIL images, or a tensor [N, 3, h, w] of images preprocessed by the feature extractor.
            height, width: of the results, in pixels, multiples of 8; by default the UNet's `sample_size`.
            num_images_per_prompt: number of variations of each image.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(
            self, checks.check_components(self.components, "unet", "vae", "image_encoder", "scheduler")
        )
        height, width = self._size_of_each(height, width, latents)
        channels, count = self.unet.config.in_channels, count_images(image)
        checks.raise_problems(
            self,
            checks.problems_of(self.check_inputs, image, height, width, callback_steps),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(callback=callback),
            checks.check_noise(
                latents=latents,
                generator=generator,
                prompts=count,
                num_images_per_prompt=num_images_per_prompt,
                channels=channels,
                height=height,
                width=width,
                scale_factor=self.vae_scale_factor,
            ),
        )
        batch_size = count * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale)

        # 1. encode the images
        image_embeds = self._encode_image(
            image, self.device, num_images_per_prompt, self.do_classifier_free_guidance
        )  # [2B or B, 1, D]

        # 2. timesteps and initial noise
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, image_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        denoiser = UNetDenoiser(self.unet, self.scheduler)
        loop = DenoisingLoop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.finite.note("the image encoder", image_embeds)
        for i, t in loop.steps():
            noise_pred = self._guide(denoiser(latents, t, image_embeds))  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode and run the safety checker
        images, has_nsfw_concept = self._images(
            latents, output_type=output_type, dtype=image_embeds.dtype, finite=loop.finite
        )
        return self._output(images, has_nsfw_concept, return_dict)

    def check_inputs(self, image: Any, height: Any, width: Any, callback_steps: Any) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            check_clip_images(image),
            checks.check_size(height=height, width=width),
            checks.check_counts(callback_steps=callback_steps),
        )

    def _encode_image(
        self,
        image: PIL.Image.Image | list[PIL.Image.Image] | paddle.Tensor,
        device: Any,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool,
    ) -> paddle.Tensor:
        """Embeddings of images, [B, 1, D]; with guidance [2B, 1, D], zeros (the unconditional embeddings) first."""
        pixels = clip_pixels(image, self.feature_extractor, self.image_encoder)  # [N, 3, h, w]
        embeds = self.image_encoder(pixels).image_embeds[:, None]  # [N, 1, D]
        embeds = embeds.repeat_interleave(num_images_per_prompt, axis=0)  # [B, 1, D]
        return paddle.concat([paddle.zeros_like(embeds), embeds]) if do_classifier_free_guidance else embeds
