"""Upscaling by 4, guided by a prompt: the upscaler of Stable Diffusion 2.

The UNet reads the low-resolution image, concatenated to the latents. This image is noised too, and the UNet reads the
noise level as a class label (Ho et al., "Cascaded Diffusion Models for High Fidelity Image Generation", arXiv
2106.15282, section 4.2: noise conditioning augmentation). The latents have the size of the low-resolution image; the
VAE's decoder enlarges them by 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.latents import initial_latents, repeat_to
from ppdiffusers.pipelines.stages.legacy import correct_upscaler_vae
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.utils.pil_modes import rgb_images
from ppdiffusers.utils.torch_utils import Generator, as_generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.schedulers.scheduling_ddpm import DDPMScheduler
    from ppdiffusers.transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer


class StableDiffusionUpscalePipeline(StableDiffusionBase):
    """Upscale images by 4; other components are those of `StableDiffusionBase`.

    Args:
        unet: has a class embedding, whose class is the noise level.
        low_res_scheduler: noises the low-resolution image.
        safety_checker, feature_extractor: those of DeepFloyd IF, which uses this pipeline as its last stage, or None.
        watermarker: marks generated PIL images by its `apply_watermark(images)`, or None.
        max_noise_level: the largest noise level that the UNet was trained with.
    """

    _optional_components = ("watermarker", "safety_checker", "feature_extractor")

    low_res_scheduler: DDPMScheduler
    watermarker: Any

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        low_res_scheduler: DDPMScheduler,
        scheduler: Scheduler,
        safety_checker: Any = None,
        feature_extractor: CLIPImageProcessor | None = None,
        watermarker: Any = None,
        max_noise_level: int = 350,
    ):
        DiffusionPipeline.__init__(self)
        correct_upscaler_vae(vae)
        self._register_with_vae(
            resample="bicubic",
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            low_res_scheduler=low_res_scheduler,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
            watermarker=watermarker,
        )
        self.register_to_config(max_noise_level=max_noise_level)

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        num_inference_steps: int = 75,
        guidance_scale: float = 9.0,
        noise_level: int = 20,
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
        clip_skip: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Upscale images by 4.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            prompt: describes the images.
            image: low-resolution images, one for each prompt or one for all prompts. Height and width are rounded down
                to multiples of 4; the results are 4 times as large.
            noise_level: timestep to which the low-resolution image is noised, 0 to `max_noise_level`. With larger
                values the prompt changes more.
            generator: draws the noise of the low-resolution image, then the latents.
            latents: standard normal noise [B, C, H, W] of the size of the low-resolution image.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(
            self, checks.check_components(self.components, "unet", "vae", "scheduler", "low_res_scheduler")
        )
        prompts = checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                image,
                noise_level,
                callback_steps,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(callback=callback),
            checks.check_generators_of(generator, prompts, num_images_per_prompt),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. timesteps, the noised low-resolution image, initial noise of the same size
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        channels = self.vae.config.latent_channels
        image = self.image_processor.preprocess(rgb_images(image))  # [N, 3, H, W]
        checks.raise_problems(self, checks.check_channels(image, self.unet.config.in_channels - channels))
        image = self._add_noise(image, noise_level, generator)
        image = repeat_to(image, batch_size)  # [B, 3, H, W]
        height, width = image.shape[2:]
        latents = self.prepare_latents(
            batch_size, channels, height, width, image.dtype, self.device, generator, latents
        )  # [B, C, H, W]

        # 2. prompts, and the other inputs of the UNet: twice with guidance
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
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]
        image = repeat_to(image, prompt_embeds.shape[0])  # [2B or B, 3, H, W]
        class_labels = paddle.full([prompt_embeds.shape[0]], noise_level, dtype="int64")
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        denoiser = UNetDenoiser(
            self.unet,
            self.scheduler,
            extra_channels=(image,),
            class_labels=class_labels,
            cross_attention_kwargs=cross_attention_kwargs,
        )
        loop = DenoisingLoop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.finite.note("the text encoder", prompt_embeds)
        for i, t in loop.steps():
            noise_pred = self._guide(denoiser(latents, t, prompt_embeds))  # [B, C, H, W]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode to 4 times the size, run the safety checker, add the watermark
        images, has_nsfw_concept = self._images(
            latents, output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        if output_type == "pil" and self.watermarker is not None:
            images = self.watermarker.apply_watermark(images)
        return self._output(images, has_nsfw_concept, return_dict)

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
    ) -> paddle.Tensor:
        """Initial latents [batch_size, num_channels_latents, height, width]."""
        shape = (batch_size, num_channels_latents, height, width)
        checks.raise_problems(self, checks.check_latents(latents, shape))
        return initial_latents(shape, self.scheduler.init_noise_sigma, dtype, generator, latents)

    def _add_noise(self, image: paddle.Tensor, noise_level: int, generator: Generator) -> paddle.Tensor:
        """Images [N, 3, H, W] in the UNet's dtype, noised to the timestep `noise_level`."""
        image = image.astype(self.unet.dtype)
        # of a list with one generator for each generated image, the first ones draw the noise of the given images
        generator = generator[: image.shape[0]] if isinstance(generator, list) else generator
        noise = randn_tensor(image.shape, generator=generator, dtype=image.dtype)
        return self.low_res_scheduler.add_noise(image, noise, np.array([noise_level]))

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        noise_level: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        maximum = self.config.max_noise_level
        problems = []
        if not checks.is_integer(noise_level) or not 0 <= noise_level <= maximum:
            problems = [
                f"`noise_level` must be a whole number from 0 to {maximum} (`max_noise_level`), not {noise_level!r}"
            ]
        checks.raise_problems(
            self,
            checks.check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            checks.check_images(image=image),
            problems,
            checks.check_callbacks(callback_steps=callback_steps),
        )

    @device_is_optional
    def run_safety_checker(
        self, image: Any, device: Any, dtype: Any
    ) -> tuple[Any, list[bool] | None, list[bool] | None]:
        """Return the images, flagged ones black, their flags, and flags for watermarks (None if not detected)."""
        checked: tuple = super().run_safety_checker(image, device, dtype)
        return checked[0], checked[1], checked[2] if len(checked) > 2 else None
