"""Inpainting with Stable Diffusion XL (arXiv 2307.01952), by a UNet of 9 input channels or by any of 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion_xl.inpaint_base import StableDiffusionXLInpaintBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, GuidedPrediction, StepCallbacks, StepEndCallback, inference
from ppdiffusers.pipelines.stages.guidance import rescale_noise_cfg as rescale_noise_cfg
from ppdiffusers.pipelines.stages.inpaint import (
    Blending,
    InpaintLatents,
    check_crop,
    check_masked_latents,
    mask_channels,
)
from ppdiffusers.pipelines.stages.latents import retrieve_latents as retrieve_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import Size, SizeConditions
from ppdiffusers.pipelines.stages.timesteps import first_timestep
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps as retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionXLInpaintPipeline(StableDiffusionXLInpaintBase, IPAdapterMixin):
    """Inpaint images; the components are those of `StableDiffusionXLInpaintBase`."""

    _callback_tensor_inputs = (
        *("latents", "prompt_embeds", "add_text_embeds", "add_time_ids"),
        *("mask", "masked_image_latents"),
    )

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        mask_image: PipelineImageInput | None = None,
        masked_image_latents: paddle.Tensor | None = None,
        height: int | None = None,
        width: int | None = None,
        padding_mask_crop: int | None = None,
        strength: float = 0.9999,
        num_inference_steps: int = 50,
        timesteps: Sequence[int] | np.ndarray | None = None,
        sigmas: Sequence[float] | None = None,
        denoising_start: float | None = None,
        denoising_end: float | None = None,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        negative_prompt_2: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        pooled_prompt_embeds: paddle.Tensor | None = None,
        negative_pooled_prompt_embeds: paddle.Tensor | None = None,
        ip_adapter_image: PipelineImageInput | None = None,
        ip_adapter_image_embeds: list[paddle.Tensor] | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guidance_rescale: float = 0.0,
        original_size: Size | None = None,
        crops_coords_top_left: Size = (0, 0),
        target_size: Size | None = None,
        negative_original_size: Size | None = None,
        negative_crops_coords_top_left: Size = (0, 0),
        negative_target_size: Size | None = None,
        aesthetic_score: float = 6.0,
        negative_aesthetic_score: float = 2.5,
        clip_skip: int | None = None,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callback | None = None,
        callback_steps: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionXLPipelineOutput | tuple:
        """Inpaint the masked part of images according to prompts.

        Arguments that are not listed are those of `StableDiffusionXLImg2ImgPipeline` and
        `StableDiffusionInpaintPipeline`.

        Args:
            image: images, resized to `height` and `width`; or their latents, such as those of a call with
                `denoising_end` and `output_type="latent"`.
            height, width: in pixels, multiples of 8; by default the UNet's `sample_size`, not the size of the image.
            strength: fraction of the steps to run; at 1 denoising starts from noise.
            denoising_start: fraction of the noise schedule that `image` has passed; no noise is added to it.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        callbacks = StepCallbacks(callback_on_step_end, callback_on_step_end_tensor_inputs, callback, callback_steps)
        height, width = self._size_of_each(height, width)
        channels, reads_mask = self.vae.config.latent_channels, self.unet.config.in_channels == 9
        num_prompts = checks.num_prompts(prompt, prompt_embeds)
        prompts = {
            "prompt": prompt,
            "prompt_2": prompt_2,
            "negative_prompt": negative_prompt,
            "negative_prompt_2": negative_prompt_2,
            "prompt_embeds": prompt_embeds,
            "negative_prompt_embeds": negative_prompt_embeds,
            "pooled_prompt_embeds": pooled_prompt_embeds,
            "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
        }
        sizes = SizeConditions(
            original_size,
            crops_coords_top_left,
            target_size,
            negative_original_size,
            negative_crops_coords_top_left,
            negative_target_size,
            *((aesthetic_score, negative_aesthetic_score) if self.config.requires_aesthetics_score else ()),
        )
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                prompt_2,
                image,
                mask_image,
                height,
                width,
                strength,
                callback_steps,
                output_type,
                negative_prompt=negative_prompt,
                negative_prompt_2=negative_prompt_2,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                callback_on_step_end_tensor_inputs=callbacks.tensor_inputs,
                padding_mask_crop=padding_mask_crop,
            ),
            self._check_pooled_prompts(**prompts),
            self._check_unet(),
            self._check_sampling(
                callbacks,
                latents=latents,
                generator=generator,
                prompts=num_prompts,
                channels=channels,
                height=height,
                width=width,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
                eta=eta,
            ),
            check_masked_latents(image=image, masked_image_latents=masked_image_latents, channels=channels)
            if reads_mask
            else [],
            checks.check_denoising_range(denoising_start=denoising_start, denoising_end=denoising_end),
            self._check_sizes(sizes, pooled_prompt_embeds),
        )
        batch_size = num_prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin_at(denoising_start, denoising_end)
        self._begin(
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            clip_skip=clip_skip,
            cross_attention_kwargs=cross_attention_kwargs,
        )

        # 1. encode the prompts
        conditioning = self._conditioning(
            **prompts,
            num_images_per_prompt=num_images_per_prompt,
            clip_skip=clip_skip,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]
        add_text_embeds = conditioning.guided_pooled()  # [2B or B, P]

        # 2. remaining timesteps
        timesteps, num_inference_steps = self._timesteps_to_run(num_inference_steps, strength, timesteps, sigmas)
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoders", prompt_embeds)

        # 3. image and mask, or the crop of both that is inpainted
        crop = None
        if padding_mask_crop is not None:
            crop = self.mask_processor.get_crop_region(mask_image, width, height, pad=padding_mask_crop)
        resize_mode = "default" if crop is None else "fill"
        pixels = self._preprocess(image, height, width, resize_mode, crop).astype("float32")
        mask = self.mask_processor.preprocess(mask_image, height, width, resize_mode, crop)  # [N, 1, H, W]

        # 4. initial latents, those of the image, what the UNet reads in addition, sizes
        known = InpaintLatents(
            *self.prepare_latents(
                batch_size,
                channels,
                height,
                width,
                prompt_embeds.dtype,
                self.device,
                generator,
                latents,
                image=pixels,
                timestep=first_timestep(timesteps, batch_size),
                is_strength_max=strength == 1.0,
                add_noise=denoising_start is None,
                return_noise=True,
                return_image_latents=not reads_mask,
            )
        )
        latents = known.initial  # [B, C, h, w]
        if masked_image_latents is None and not self.vae.is_latents(pixels):
            masked_image_latents = pixels * (mask < 0.5).astype(pixels.dtype)  # [N, 3, H, W], encoded below
        mask, masked_image_latents = self.prepare_mask_latents(
            mask,
            masked_image_latents,
            batch_size,
            height,
            width,
            prompt_embeds.dtype,
            self.device,
            generator,
            self.do_classifier_free_guidance,
        )  # [2B or B, 1, h, w], [2B or B, C, h, w]
        loop.finite.note("the VAE's encoder", latents if masked_image_latents is None else masked_image_latents)
        add_time_ids = self._time_ids(
            sizes.of_image_to_image(*(size * self.vae_scale_factor for size in latents.shape[2:])),
            batch_size,
            prompt_embeds.dtype,
        )  # [2B or B, 6 or 5]

        # 5. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        tensors = loop.run(
            GuidedPrediction(
                self._denoiser(latents, image_conditions), self._guide, *([mask_channels] if reads_mask else [])
            ),
            {
                "latents": latents,
                "prompt_embeds": prompt_embeds,
                "add_text_embeds": add_text_embeds,
                "add_time_ids": add_time_ids,
                "mask": mask,
                "masked_image_latents": masked_image_latents,
            },
            self.prepare_extra_step_kwargs(generator, eta),
            None if reads_mask else Blending(self.scheduler, timesteps, known),
        )

        # 6. decode, paste the crop
        images = self._images(tensors["latents"], output_type, loop.finite)
        if crop is not None:
            images = [self.image_processor.apply_overlay(mask_image, image, one, crop) for one in images]
        return self._output(images, return_dict)

    def check_inputs(
        self,
        prompt: Any,
        prompt_2: Any,
        image: Any,
        mask_image: Any,
        height: Any,
        width: Any,
        strength: Any,
        callback_steps: Any,
        output_type: Any,
        negative_prompt: Any = None,
        negative_prompt_2: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
        padding_mask_crop: Any = None,
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
            checks.check_images(image=image, mask_image=mask_image),
            checks.check_size(height=height, width=width),
            checks.check_strength(strength),
            check_crop(
                padding_mask_crop=padding_mask_crop, image=image, mask_image=mask_image, output_type=output_type
            ),
        )
