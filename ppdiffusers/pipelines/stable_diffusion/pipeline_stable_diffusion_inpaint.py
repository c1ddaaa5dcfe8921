"""Inpainting of the masked part of an image, guided by a prompt.

With a UNet of 9 input channels, which is trained to read the mask and the masked image (Rombach et al., arXiv
2112.10752), or with any text-to-image UNet of 4, whose latents are replaced by the noised image outside of the mask
(Lugmayr et al., "RePaint", arXiv 2201.09865, equation 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion.inpaint_base import InpaintBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, StepEndCallback, inference
from ppdiffusers.pipelines.stages.inpaint import (
    InpaintLatents,
    blend_with_known,
    check_crop,
    check_masked_latents,
)
from ppdiffusers.pipelines.stages.latents import retrieve_latents as retrieve_latents
from ppdiffusers.pipelines.stages.masked_images import prepare_mask_and_masked_image as prepare_mask_and_masked_image
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import first_timestep, retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionInpaintPipeline(InpaintBase, IPAdapterMixin):
    """Inpaint images; the components are those of `StableDiffusionBase`."""

    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds", "mask", "masked_image_latents")

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        mask_image: PipelineImageInput | None = None,
        masked_image_latents: paddle.Tensor | None = None,
        height: int | None = None,
        width: int | None = None,
        padding_mask_crop: int | None = None,
        strength: float = 1.0,
        num_inference_steps: int = 50,
        timesteps: Sequence[int] | np.ndarray | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float = 7.5,
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
        cross_attention_kwargs: dict[str, Any] | None = None,
        clip_skip: int | None = None,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callback | None = None,
        callback_steps: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Inpaint the masked part of images according to prompts.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            image: images, resized to `height` and `width`; or their latents.
            mask_image: as many masks, white (1) where to inpaint.
            masked_image_latents: latents of the images without their masked part, used instead of encoding them.
            height, width: in pixels, multiples of 8; by default the UNet's `sample_size`, not the size of the image.
            padding_mask_crop: inpaint a crop only: the bounding box of the mask, widened by this number of pixels and
                enlarged to `height` x `width`. The result is pasted back. Requires a PIL image and mask.
            strength: fraction of the steps to run; below 1 denoising starts from the noised image.
            generator: draws, as far as they are needed, the latents of the image, the noise, and the latents of the
                masked image.
            latents: noise [B, C, height / 8, width / 8], used instead of drawing it; the call then starts from it,
                whatever the strength.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        height, width = self._size_of_each(height, width)
        prompts = checks.num_prompts(prompt, prompt_embeds)
        channels = self.vae.config.latent_channels
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                image,
                mask_image,
                height,
                width,
                strength,
                callback_steps,
                output_type,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                callback_on_step_end_tensor_inputs=tensor_inputs,
                padding_mask_crop=padding_mask_crop,
            ),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(callback_on_step_end=callback_on_step_end, callback=callback),
            check_masked_latents(image=image, masked_image_latents=masked_image_latents, channels=channels),
            checks.check_noise(
                latents=latents,
                generator=generator,
                prompts=prompts,
                num_images_per_prompt=num_images_per_prompt,
                channels=channels,
                height=height,
                width=width,
                scale_factor=self.vae_scale_factor,
            ),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)
        reads_mask = self.unet.config.in_channels == 9

        # 1. remaining timesteps, prompts
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        timesteps, num_inference_steps = self.get_timesteps(num_inference_steps, strength, self.device)
        self._num_timesteps = len(timesteps)
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
        negative_prompt_embeds = conditioning.negative_prompt_embeds  # [B, L, D]
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]
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

        # 2. image and mask, or the crop of both that is inpainted
        crop = None
        if padding_mask_crop is not None:
            crop = self.mask_processor.get_crop_region(mask_image, width, height, pad=padding_mask_crop)
        resize_mode = "default" if crop is None else "fill"
        pixels = self._preprocess(image, height, width, resize_mode, crop).astype("float32")
        mask = self.mask_processor.preprocess(mask_image, height, width, resize_mode, crop)  # [N, 1, H, W]
        checks.raise_problems(self, checks.check_mask(mask))

        # 3. initial latents, those of the image, and what the UNet reads in addition
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
                return_noise=True,
                return_image_latents=not reads_mask,
            )
        )
        latents = known.initial  # [B, C, h, w]
        if masked_image_latents is None:
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
        loop.finite.note("the VAE's encoder", masked_image_latents)
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 4. denoise
        denoiser = self._denoiser(
            latents, self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        )
        for i, t in loop.steps():
            denoiser.extra_channels = (mask, masked_image_latents) if reads_mask else ()
            noise_pred = self._guide(denoiser(latents, t, prompt_embeds))  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            if not reads_mask:
                next_timestep = loop.timesteps[i + 1 : i + 2] if i < len(timesteps) - 1 else None
                latents = blend_with_known(self.scheduler, latents, mask[:batch_size], known, next_timestep)
            latents, prompt_embeds, negative_prompt_embeds, mask, masked_image_latents = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                mask=mask,
                masked_image_latents=masked_image_latents,
            )

        # 5. decode, run the safety checker, paste the crop
        images, has_nsfw_concept = self._images(
            latents, output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        if crop is not None:
            images = [self.image_processor.apply_overlay(mask_image, image, one, crop) for one in images]
        return self._output(images, has_nsfw_concept, return_dict)

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        mask_image: Any,
        height: Any,
        width: Any,
        strength: Any,
        callback_steps: Any,
        output_type: Any,
        negative_prompt: Any = None,
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
