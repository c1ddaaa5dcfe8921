"""Image to image with control images: SDEdit (arXiv 2108.01073) with a ControlNet (arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.controlnet.base import ControlNetBase
from ppdiffusers.pipelines.stable_diffusion.img2img_base import Img2ImgBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, StepEndCallback, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.latents import initial_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import first_timestep, retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionControlNetImg2ImgPipeline(ControlNetBase, Img2ImgBase):
    """Generate images from images, prompts and control images; the components are those of `ControlNetBase`."""

    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds", "control_image")

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        control_image: PipelineImageInput | list[PipelineImageInput] | None = None,
        height: int | None = None,
        width: int | None = None,
        strength: float = 0.8,
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
        controlnet_conditioning_scale: float | list[float] = 0.8,
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
        """Change images according to prompts and control images.

        Arguments that are not listed are those of `StableDiffusionControlNetPipeline`.

        Args:
            image: images to start from, or their latents [N, C, h, w]; the number of generated images is a multiple
                of N.
            control_image: control images: one, or one for each prompt. Several ControlNets require a list with an entry
                for each of them.
            height, width: in pixels, rounded down to multiples of 8; image and control images are resized to them. By
                default those of the images, which then must be the same.
            strength: fraction of the steps to run, 0 to 1; at 1 little of the image remains.
            generator: draws the latents of the image, then the noise.
            latents: noised latents of the image, used instead of encoding it.

        Raises:
            InputError: invalid arguments, or a ControlNet for another UNet; everything is listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "controlnet", "scheduler"))
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        channels = self.unet.config.in_channels
        prompts = checks.num_prompts(prompt, prompt_embeds)
        height, width, size_problems = self._check_control_size(control_image, prompts, height, width, image)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                control_image,
                callback_steps,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                controlnet_conditioning_scale=controlnet_conditioning_scale,
                control_guidance_start=control_guidance_start,
                control_guidance_end=control_guidance_end,
                callback_on_step_end_tensor_inputs=tensor_inputs,
            ),
            size_problems,
            checks.check_images(image=image),
            checks.check_strength(strength),
            self._check_controlnets(channels),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(callback_on_step_end=callback_on_step_end, callback=callback),
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
        guess_mode = self._guess_mode(guess_mode)
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
        negative_prompt_embeds = conditioning.negative_prompt_embeds  # [B, L, D]
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]

        # 2. control images; latents of the image, noised to the first of these timesteps
        control_image = self._control_images(
            self.prepare_control_image,
            control_image,
            width=width,
            height=height,
            batch_size=batch_size,
            num_images_per_prompt=num_images_per_prompt,
            guess_mode=guess_mode,
        )  # [2B or B, C, H, W], or a list
        if latents is None:
            latents = self.prepare_latents(
                self.image_processor.preprocess(image, height=height, width=width),  # [N, 3, H, W]
                first_timestep(timesteps, batch_size),
                prompts,
                num_images_per_prompt,
                prompt_embeds.dtype,
                self.device,
                generator,
            )  # [B, C, h, w]
        else:
            latents = initial_latents(latents.shape, 1.0, prompt_embeds.dtype, latents=latents)
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        control = self._control_guide(
            control_image, controlnet_conditioning_scale, control_guidance_start, control_guidance_end, guess_mode
        )
        denoiser = UNetDenoiser(
            self.unet,
            self.scheduler,
            timestep_cond=self._timestep_cond(batch_size, latents.dtype),
            cross_attention_kwargs=cross_attention_kwargs,
        )
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
        loop.finite.note("the VAE's encoder", latents)
        for i, t in loop.steps():
            residuals = control(i, latents, t, prompt_embeds)
            noise_pred = self._guide(denoiser(latents, t, prompt_embeds, **residuals))  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            latents, prompt_embeds, negative_prompt_embeds, control.image = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                control_image=control.image,
            )

        # 4. decode and run the safety checker
        images, has_nsfw_concept = self._images(
            latents, output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(images, has_nsfw_concept, return_dict)

    def prepare_control_image(
        self,
        image: PipelineImageInput,
        width: int | None,
        height: int | None,
        batch_size: int,
        num_images_per_prompt: int,
        device: Any,
        dtype: paddle.dtype,
        do_classifier_free_guidance: bool = False,
        guess_mode: bool = False,
    ) -> paddle.Tensor:
        """Control images [batch_size, C, height, width] in [0, 1], twice with guidance."""
        return self._prepare_control_image(
            image, width, height, batch_size, num_images_per_prompt, dtype, do_classifier_free_guidance, guess_mode
        )

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        controlnet_conditioning_scale: Any = 1.0,
        control_guidance_start: Any = 0.0,
        control_guidance_end: Any = 1.0,
        callback_on_step_end_tensor_inputs: Any = None,
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
            self._check_control_arguments(
                image,
                checks.num_prompts(prompt, prompt_embeds),
                controlnet_conditioning_scale,
                control_guidance_start,
                control_guidance_end,
            ),
            checks.check_callbacks(
                callback_steps=callback_steps,
                tensor_inputs=callback_on_step_end_tensor_inputs,
                allowed=self._callback_tensor_inputs,
            ),
            checks.check_no_ip_adapter(ip_adapter_image, ip_adapter_image_embeds),
        )
