"""Editing of an image by an instruction. Brooks et al., "InstructPix2Pix", arXiv 2211.09800: two guidance scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, StepEndCallback, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.guidance import image_text_guidance
from ppdiffusers.pipelines.stages.img2img import check_edit_channels, edited_image_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionInstructPix2PixPipeline(StableDiffusionBase, IPAdapterMixin):
    """Edit images by instructions; the components are those of `StableDiffusionBase`, with a UNet of 8 channels."""

    _callback_tensor_inputs = ("latents", "prompt_embeds", "image_latents")
    _corrected_settings = ()
    _image_guidance_scale = 1.0
    _guided_conditions = (True, False, False)

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        num_inference_steps: int = 100,
        guidance_scale: float = 7.5,
        image_guidance_scale: float = 1.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        ip_adapter_image: PipelineImageInput | None = None,
        ip_adapter_image_embeds: list[paddle.Tensor] | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        cross_attention_kwargs: dict[str, Any] | None = None,
        callback: Callback | None = None,
        callback_steps: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Edit images according to prompts.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            prompt: an instruction, such as "make it winter".
            image: images to edit, or their unscaled latents [N, C, h, w]; the number of generated images is a multiple
                of N. The results have the size of the image, rounded down to multiples of 8.
            guidance_scale: s_T of the paper: larger follows the instruction more closely.
            image_guidance_scale: s_I, at least 1: larger preserves the image more. There is no guidance by either if
                this is below 1 or `guidance_scale` is 1 or less.

        Raises:
            InputError: invalid arguments; all of them are listed.
            ConfigError: the UNet accepts another number of channels than those of the latents and the image.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        prompts = checks.num_prompts(prompt, prompt_embeds)
        channels = self.vae.config.latent_channels
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                callback_steps,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                callback_on_step_end_tensor_inputs=tensor_inputs,
            ),
            checks.check_images(image=image),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                image_guidance_scale=image_guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(callback_on_step_end=callback_on_step_end, callback=callback),
            checks.check_generators_of(generator, prompts, num_images_per_prompt),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, cross_attention_kwargs=cross_attention_kwargs)
        self._image_guidance_scale = image_guidance_scale

        # 1. encode the prompts: the UNet predicts with prompt and image, with the image only, with neither
        conditioning = self._conditioning(
            prompt=prompt,
            negative_prompt=negative_prompt,
            prompt_embeds=prompt_embeds,
            negative_prompt_embeds=negative_prompt_embeds,
            num_images_per_prompt=num_images_per_prompt,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        prompt_embeds, negative_prompt_embeds = conditioning.prompt_embeds, conditioning.negative_prompt_embeds
        if self.do_classifier_free_guidance:
            prompt_embeds = paddle.concat([prompt_embeds, negative_prompt_embeds, negative_prompt_embeds])  # [3B, L, D]

        # 2. timesteps, latents of the image, initial noise
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        self._num_timesteps = len(timesteps)
        loop = DenoisingLoop(
            self,
            timesteps,
            num_inference_steps,
            callback_on_step_end=callback_on_step_end,
            tensor_inputs=tensor_inputs,
            callback=callback,
            callback_steps=callback_steps,
        )
        loop.finite.note("the text encoder", prompt_embeds)
        image_latents = self.prepare_image_latents(
            self._preprocess(image),  # [N, 3, H, W]
            prompts,
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            self.do_classifier_free_guidance,
        )  # [3B or B, C, h, w]
        loop.finite.note("the VAE's encoder", image_latents)
        check_edit_channels(self.unet, channels + image_latents.shape[1])
        height, width = (size * self.vae_scale_factor for size in image_latents.shape[2:])
        checks.raise_problems(self, checks.check_latents(latents, (batch_size, channels, *image_latents.shape[2:])))
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        denoiser = UNetDenoiser(
            self.unet,
            self.scheduler,
            cross_attention_kwargs=cross_attention_kwargs,
            added_cond_kwargs=self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size),
        )
        for i, t in loop.steps():
            denoiser.extra_channels = (image_latents,)
            noise_pred = denoiser(latents, t, prompt_embeds)  # [3B or B, C, h, w]
            if self.do_classifier_free_guidance:
                noise_pred = image_text_guidance(noise_pred, self.guidance_scale, self.image_guidance_scale)
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            latents, prompt_embeds, image_latents = loop.end_step(
                i, t, latents=latents, prompt_embeds=prompt_embeds, image_latents=image_latents
            )

        # 4. decode and run the safety checker
        image, has_nsfw_concept = self._images(
            latents, output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(image, has_nsfw_concept, return_dict)

    def check_inputs(
        self,
        prompt: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
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
                tensor_inputs=callback_on_step_end_tensor_inputs,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
            ),
        )

    @device_is_optional
    def prepare_image_latents(
        self,
        image: paddle.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        device: Any,
        do_classifier_free_guidance: bool,
        generator: Generator = None,
    ) -> paddle.Tensor:
        """Latents of the image for the UNet: [B, C, h, w]; with guidance [3B, C, h, w], the last third zero.

        They are the mode of the VAE's distribution, without scaling, as the UNet was trained. `device` and `generator`
        have no effect.

        Args:
            image: images [N, 3, H, W] in [-1, 1], or such latents [N, C, h, w].
        """
        batch_size = batch_size * num_images_per_prompt
        return edited_image_latents(self.vae, image, batch_size, dtype, guided=do_classifier_free_guidance)

    @property
    def image_guidance_scale(self) -> float:
        return self._image_guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return self.guidance_scale > 1.0 and self.image_guidance_scale >= 1.0
