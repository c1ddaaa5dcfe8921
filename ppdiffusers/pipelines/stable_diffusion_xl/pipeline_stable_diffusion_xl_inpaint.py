"""Inpainting with Stable Diffusion XL (arXiv 2307.01952), by a UNet of 9 input channels or by any of 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput, VaeImageProcessor
from ppdiffusers.pipelines.stable_diffusion_xl.img2img_base import StableDiffusionXLImg2ImgBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, StepEndCallback, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.inpaint import (
    InpaintLatents,
    blend_with_known,
    check_crop,
    check_masked_latents,
    prepare_inpaint_latents,
    prepare_mask_and_image,
)
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import Size, SizeConditions
from ppdiffusers.pipelines.stages.timesteps import first_timestep, retrieve_timesteps, timesteps_until
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionXLInpaintPipeline(StableDiffusionXLImg2ImgBase):
    """Inpaint images; the components are those of `StableDiffusionXLImg2ImgBase`."""

    _callback_tensor_inputs = (
        *("latents", "prompt_embeds", "add_text_embeds", "add_time_ids"),
        *("mask", "masked_image_latents"),
    )

    def _register_with_vae(self, **components: Any) -> None:
        super()._register_with_vae(**components)
        self.mask_processor = VaeImageProcessor(
            vae_scale_factor=self.vae_scale_factor, do_normalize=False, do_binarize=True, do_convert_grayscale=True
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
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
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
                callback_on_step_end_tensor_inputs=tensor_inputs,
                padding_mask_crop=padding_mask_crop,
            ),
            self._check_pooled_prompts(**prompts),
            self._check_unet(),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
                eta=eta,
            ),
            checks.check_callbacks(callback_on_step_end=callback_on_step_end, callback=callback),
            checks.check_noise(
                latents=latents,
                generator=generator,
                prompts=num_prompts,
                num_images_per_prompt=num_images_per_prompt,
                channels=channels,
                height=height,
                width=width,
                scale_factor=self.vae_scale_factor,
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
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        timesteps, num_inference_steps = self.get_timesteps(
            num_inference_steps, strength, self.device, denoising_start or None
        )
        noise_timestep = first_timestep(timesteps, batch_size)
        timesteps, num_inference_steps = timesteps_until(self.scheduler, timesteps, num_inference_steps, denoising_end)
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
                timestep=noise_timestep,
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
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 5. denoise
        denoiser = UNetDenoiser(
            self.unet,
            self.scheduler,
            timestep_cond=self._timestep_cond(batch_size, latents.dtype),
            cross_attention_kwargs=cross_attention_kwargs,
        )
        for i, t in loop.steps():
            denoiser.extra_channels = (mask, masked_image_latents) if reads_mask else ()
            added = {"text_embeds": add_text_embeds, "time_ids": add_time_ids}
            noise_pred = self._guide(denoiser(latents, t, prompt_embeds, added_cond_kwargs=added))  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            if not reads_mask:
                next_timestep = loop.timesteps[i + 1 : i + 2] if i < len(timesteps) - 1 else None
                latents = blend_with_known(self.scheduler, latents, mask[:batch_size], known, next_timestep)
            latents, prompt_embeds, add_text_embeds, add_time_ids, mask, masked_image_latents = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                add_text_embeds=add_text_embeds,
                add_time_ids=add_time_ids,
                mask=mask,
                masked_image_latents=masked_image_latents,
            )

        # 6. decode, paste the crop
        images = self._images(latents, output_type, loop.finite)
        if crop is not None:
            images = [self.image_processor.apply_overlay(mask_image, image, one, crop) for one in images]
        return self._output(images, return_dict)

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
            checks.check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            checks.check_images(image=image, mask_image=mask_image),
            checks.check_size(height=height, width=width),
            checks.check_strength(strength),
            checks.check_callbacks(
                callback_steps=callback_steps,
                tensor_inputs=callback_on_step_end_tensor_inputs,
                allowed=self._callback_tensor_inputs,
            ),
            checks.check_no_ip_adapter(ip_adapter_image, ip_adapter_image_embeds),
            check_crop(
                padding_mask_crop=padding_mask_crop, image=image, mask_image=mask_image, output_type=output_type
            ),
        )
