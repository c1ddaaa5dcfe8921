"""Inpainting with control images: the inpainting of Stable Diffusion with a ControlNet (arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.models.controlnets.multicontrolnet import MultiControlNetModel as MultiControlNetModel
from ppdiffusers.pipelines.controlnet.base import ControlNetBase, ControlNetInpaintMixin
from ppdiffusers.pipelines.controlnet.checks import check_pixels
from ppdiffusers.pipelines.stable_diffusion.inpaint_base import InpaintBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, GuidedPrediction, StepCallbacks, StepEndCallback, inference
from ppdiffusers.pipelines.stages.inpaint import Blending, InpaintLatents, check_crop, mask_channels
from ppdiffusers.pipelines.stages.latents import preprocess_images
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import first_timestep, retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionControlNetInpaintPipeline(ControlNetInpaintMixin, ControlNetBase, InpaintBase):
    """Inpaint images, guided by prompts and control images; the components are those of `ControlNetBase`."""

    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds", "control_image")

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        mask_image: PipelineImageInput | None = None,
        control_image: PipelineImageInput | list[PipelineImageInput] | None = None,
        height: int | None = None,
        width: int | None = None,
        padding_mask_crop: int | None = None,
        strength: float = 1.0,
        num_inference_steps: int = 50,
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
        controlnet_conditioning_scale: float | list[float] = 0.5,
        guess_mode: bool = False,
        control_guidance_start: float | list[float] = 0.0,
        control_guidance_end: float | list[float] = 1.0,
        clip_skip: int | None = None,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callback | None = None,
        callback_steps: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Inpaint the masked part of images according to prompts and control images.

        Arguments that are not listed are those of `StableDiffusionControlNetPipeline`.

        Args:
            image: images to inpaint; latents are not supported.
            mask_image: as many masks, white (1) where to inpaint.
            control_image: control images: one, or one for each prompt. Several ControlNets require a list with an entry
                for each of them.
            height, width: in pixels, multiples of 8; image, mask and control images are resized to them. By default
                those of the images, which then must be the same.
            padding_mask_crop: inpaint a crop only: the bounding box of the mask, widened by this number of pixels and
                enlarged to `height` x `width`. The result is pasted back. Requires PIL images and a PIL mask.
            strength: fraction of the steps to run; below 1 denoising starts from the noised image.
            generator: draws, as far as they are needed, the latents of the image, the noise, and the latents of the
                masked image.
            latents: noise [B, C, height / 8, width / 8], used instead of drawing it; the call then starts from it,
                whatever the strength.

        Raises:
            InputError: invalid arguments, or a ControlNet for another UNet; everything is listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "controlnet", "scheduler"))
        callbacks = StepCallbacks(callback_on_step_end, callback_on_step_end_tensor_inputs, callback, callback_steps)
        control = self._control(
            control_image, controlnet_conditioning_scale, control_guidance_start, control_guidance_end, guess_mode
        )
        channels = self.vae.config.latent_channels
        prompts = checks.num_prompts(prompt, prompt_embeds)
        height, width, size_problems = control.size(prompts, height, width, self.vae_scale_factor, image, self.vae)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                control_image,
                mask_image,
                height,
                width,
                callback_steps,
                output_type,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                controlnet_conditioning_scale=controlnet_conditioning_scale,
                control_guidance_start=control_guidance_start,
                control_guidance_end=control_guidance_end,
                callback_on_step_end_tensor_inputs=callbacks.tensor_inputs,
                padding_mask_crop=padding_mask_crop,
            ),
            size_problems,
            checks.check_images(image=image),
            check_pixels(image, channels),
            check_crop(
                padding_mask_crop=padding_mask_crop, image=image, mask_image=mask_image, output_type=output_type
            ),
            checks.check_strength(strength),
            control.check_networks(self.unet, channels, self.vae_scale_factor),
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
        reads_mask = self.unet.config.in_channels == 9
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. remaining timesteps, prompts
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
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
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoder", prompt_embeds)

        # 2. control images, image and mask, or the crop of all that is inpainted
        crop = None
        if padding_mask_crop is not None:
            crop = self.mask_processor.get_crop_region(mask_image, width, height, pad=padding_mask_crop)
        resize_mode = "default" if crop is None else "fill"
        control_image = control.prepare(
            self.prepare_control_image,
            width=width,
            height=height,
            batch_size=batch_size,
            num_images_per_prompt=num_images_per_prompt,
            crops_coords=crop,
            resize_mode=resize_mode,
            device=self.device,
            do_classifier_free_guidance=self.do_classifier_free_guidance,
        )  # [2B or B, C, H, W], or a list
        pixels = preprocess_images(self.image_processor, self.vae, image, height, width, resize_mode, crop).astype(
            "float32"
        )
        mask = self.mask_processor.preprocess(mask_image, height, width, resize_mode, crop)  # [N, 1, H, W]

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
        mask, masked_image_latents = self.prepare_mask_latents(
            mask,
            pixels * (mask < 0.5).astype(pixels.dtype),  # [N, 3, H, W]
            batch_size,
            height,
            width,
            prompt_embeds.dtype,
            self.device,
            generator,
            self.do_classifier_free_guidance,
        )  # [2B or B, 1, h, w], [2B or B, C, h, w]
        loop.finite.note("the VAE's encoder", masked_image_latents)

        # 4. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        predict = GuidedPrediction(
            self._denoiser(latents, image_conditions),
            self._guide,
            control.guide(self.scheduler, len(timesteps)),
            *([mask_channels] if reads_mask else []),
        )
        tensors = loop.run(
            predict,
            {
                "latents": latents,
                "prompt_embeds": prompt_embeds,
                "negative_prompt_embeds": conditioning.negative_prompt_embeds,  # [B, L, D]
                "control_image": control_image,
                "mask": mask,
                "masked_image_latents": masked_image_latents,
            },
            self.prepare_extra_step_kwargs(generator, eta),
            None if reads_mask else Blending(self.scheduler, timesteps, known),
        )

        # 5. decode, run the safety checker, paste the crop
        images, has_nsfw_concept = self._images(
            tensors["latents"], output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
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
        callback_steps: Any,
        output_type: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        controlnet_conditioning_scale: Any = 1.0,
        control_guidance_start: Any = 0.0,
        control_guidance_end: Any = 1.0,
        callback_on_step_end_tensor_inputs: Any = None,
        padding_mask_crop: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments; `image` is the control image, as in diffusers."""
        control = self._control(image, controlnet_conditioning_scale, control_guidance_start, control_guidance_end)
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
            control.check(checks.num_prompts(prompt, prompt_embeds)),
            checks.check_images(mask_image=mask_image),
        )
