"""The call of Stable Diffusion XL with ControlNets that inpaints images."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.controlnet.base import ControlNetInpaintMixin
from ppdiffusers.pipelines.controlnet.checks import check_pixels
from ppdiffusers.pipelines.controlnet.control import Control
from ppdiffusers.pipelines.controlnet.xl_base import xl_tensors
from ppdiffusers.pipelines.controlnet.xl_img2img_base import XLControlNetImg2ImgBase
from ppdiffusers.pipelines.stable_diffusion_xl.inpaint_base import StableDiffusionXLInpaintBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import GuidedPrediction, StepCallbacks
from ppdiffusers.pipelines.stages.inpaint import Blending, InpaintLatents, check_crop, mask_channels
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import SizeConditions
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps, timesteps_until
from ppdiffusers.utils.torch_utils import Generator, as_generator


class XLControlNetInpaintBase(ControlNetInpaintMixin, XLControlNetImg2ImgBase, StableDiffusionXLInpaintBase):
    """Components of `XLControlNetImg2ImgBase`."""

    def _generate(
        self,
        control: Control,
        prompts: dict[str, Any],
        sizes: SizeConditions,
        callbacks: StepCallbacks,
        problems: list[str],
        *,
        image: PipelineImageInput,
        mask_image: PipelineImageInput,
        height: int | None,
        width: int | None,
        padding_mask_crop: int | None,
        strength: float,
        num_inference_steps: int,
        denoising_start: float | None,
        denoising_end: float | None,
        guidance_scale: float,
        guidance_rescale: float,
        num_images_per_prompt: int | None,
        eta: float,
        generator: Generator,
        latents: paddle.Tensor | np.ndarray | None,
        ip_adapter_image: PipelineImageInput | None,
        ip_adapter_image_embeds: list[paddle.Tensor] | None,
        output_type: str | None,
        return_dict: bool,
        cross_attention_kwargs: dict[str, Any] | None,
        clip_skip: int | None,
        prompt_syntax: PromptSyntax,
        long_prompts: LongPrompts | None,
    ) -> StableDiffusionXLPipelineOutput | tuple:
        """Check the arguments of a call, and inpaint images; see `XLControlNetBase._generate`."""
        channels, reads_mask = self.vae.config.latent_channels, self.unet.config.in_channels == 9
        num_prompts = checks.num_prompts(prompts["prompt"], prompts["prompt_embeds"])
        height, width, size_problems = control.size(num_prompts, height, width, self.vae_scale_factor, image, self.vae)
        checks.raise_problems(
            self,
            problems,
            size_problems,
            checks.check_images(image=image),
            check_pixels(image, channels),
            check_crop(
                padding_mask_crop=padding_mask_crop, image=image, mask_image=mask_image, output_type=output_type
            ),
            self._check_unet(),
            control.check_networks(self.unet, channels, self.vae_scale_factor),
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
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
                eta=eta,
            ),
            checks.check_denoising_range(denoising_start=denoising_start, denoising_end=denoising_end),
            self._check_sizes(sizes, prompts["pooled_prompt_embeds"]),
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

        # 1. prompts, sizes and remaining timesteps; the intervals of ControlNets are fractions of those without an end
        conditioning = self._conditioning(
            **prompts,
            num_images_per_prompt=num_images_per_prompt,
            clip_skip=clip_skip,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        dtype = conditioning.prompt_embeds.dtype
        ids = sizes.of_image_to_image(height, width)
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        timesteps, num_inference_steps = self.get_timesteps(
            num_inference_steps, strength, self.device, denoising_start or None
        )
        self._num_timesteps = len(timesteps)
        timesteps, num_inference_steps = timesteps_until(self.scheduler, timesteps, num_inference_steps, denoising_end)

        # 2. control images, image and mask, or the crop of all that is inpainted
        crop = None
        if padding_mask_crop is not None:
            crop = self.mask_processor.get_crop_region(mask_image, width, height, pad=padding_mask_crop)
        resize_mode = "default" if crop is None else "fill"
        images = control.prepare(
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
        pixels = self._preprocess(image, height, width, resize_mode, crop).astype("float32")
        mask = self.mask_processor.preprocess(mask_image, height, width, resize_mode, crop)  # [N, 1, H, W]

        # 3. initial latents, those of the image, and what the UNet reads in addition
        known = InpaintLatents(
            *self.prepare_latents(
                batch_size,
                channels,
                height,
                width,
                dtype,
                self.device,
                generator,
                latents,
                image=pixels,
                timestep=timesteps[:1].repeat(batch_size),
                is_strength_max=strength == 1.0,
                add_noise=denoising_start is None,
                return_noise=True,
                return_image_latents=not reads_mask,
            )
        )
        mask, masked_image_latents = self.prepare_mask_latents(
            mask,
            pixels * (mask < 0.5).astype(pixels.dtype),  # [N, 3, H, W]
            batch_size,
            height,
            width,
            dtype,
            self.device,
            generator,
            self.do_classifier_free_guidance,
        )  # [2B or B, 1, h, w], [2B or B, C, h, w]

        # 4. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoders", conditioning.prompt_embeds)
        loop.finite.note("the VAE's encoder", masked_image_latents)
        tensors = loop.run(
            GuidedPrediction(
                self._denoiser(known.initial, image_conditions),
                self._guide,
                control.guide(self.scheduler, self.num_timesteps),
                *([mask_channels] if reads_mask else []),
            ),
            {
                "latents": known.initial,
                **xl_tensors(self, conditioning, ids, batch_size, "add_neg_time_ids"),
                "mask": mask,
                "masked_image_latents": masked_image_latents,
                control.name: images,
            },
            self.prepare_extra_step_kwargs(generator, eta),
            None if reads_mask else Blending(self.scheduler, timesteps, known),
        )

        # 5. decode, paste the crop
        images = self._images(tensors["latents"], output_type, loop.finite)
        if crop is not None:
            images = [self.image_processor.apply_overlay(mask_image, image, one, crop) for one in images]
        return self._output(images, return_dict)
