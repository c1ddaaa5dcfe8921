"""Text to image with control images. Zhang et al., arXiv 2302.05543: a ControlNet adds residuals to the UNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.models.controlnets.multicontrolnet import MultiControlNetModel as MultiControlNetModel
from ppdiffusers.pipelines.controlnet.base import ControlNetBase, ControlNetMixin
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, GuidedPrediction, StepCallbacks, StepEndCallback, inference
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionControlNetPipeline(ControlNetBase):
    """Generate images from prompts and control images; the components are those of `ControlNetBase`."""

    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds", "image")
    _control_image_name = "image"
    prepare_image = ControlNetMixin.prepare_control_image

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | list[PipelineImageInput] | None = None,
        height: int | None = None,
        width: int | None = None,
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
        controlnet_conditioning_scale: float | list[float] = 1.0,
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
        """Generate images from prompts and control images.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            image: control images, such as edges or depth: one, or one for each prompt. Several ControlNets require a
                list with an entry for each of them, or with a list for each prompt.
            height, width: in pixels, rounded down to multiples of 8; by default those of the control image.
            controlnet_conditioning_scale: factor of the residuals; a list for several ControlNets.
            guess_mode: guide by the control image without a prompt: the ControlNet reads the prediction with the
                prompt only, and its first residuals are weak. A guidance scale of 3 to 5 is recommended.
            control_guidance_start, control_guidance_end: fractions of the steps between which the ControlNet is
                applied; lists for several ControlNets.

        Raises:
            InputError: invalid arguments, or a ControlNet for another UNet; everything is listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "controlnet", "scheduler"))
        callbacks = StepCallbacks(callback_on_step_end, callback_on_step_end_tensor_inputs, callback, callback_steps)
        control = self._control(
            image, controlnet_conditioning_scale, control_guidance_start, control_guidance_end, guess_mode
        )
        channels = self.unet.config.in_channels
        prompts = checks.num_prompts(prompt, prompt_embeds)
        height, width, size_problems = control.size(prompts, height, width, self.vae_scale_factor)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                image,
                callback_steps,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                controlnet_conditioning_scale=controlnet_conditioning_scale,
                control_guidance_start=control_guidance_start,
                control_guidance_end=control_guidance_end,
                callback_on_step_end_tensor_inputs=callbacks.tensor_inputs,
            ),
            size_problems,
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
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. prompts and control images
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
        image = control.prepare(
            self.prepare_image,
            width=width,
            height=height,
            batch_size=batch_size,
            num_images_per_prompt=num_images_per_prompt,
            device=self.device,
            do_classifier_free_guidance=self.do_classifier_free_guidance,
        )  # [2B or B, C, H, W], or a list

        # 2. timesteps and initial noise
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        self._num_timesteps = len(timesteps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]

        # 3. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoder", prompt_embeds)
        predict = GuidedPrediction(
            self._denoiser(latents, image_conditions), self._guide, control.guide(self.scheduler, len(timesteps))
        )
        tensors = loop.run(
            predict,
            {
                "latents": latents,
                "prompt_embeds": prompt_embeds,
                "negative_prompt_embeds": conditioning.negative_prompt_embeds,  # [B, L, D]
                "image": image,
            },
            self.prepare_extra_step_kwargs(generator, eta),
        )

        # 4. decode and run the safety checker
        images, has_nsfw_concept = self._images(
            tensors["latents"], output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(images, has_nsfw_concept, return_dict)
