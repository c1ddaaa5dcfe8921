"""Image to image with control images: SDEdit (arXiv 2108.01073) with a ControlNet (arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.models.controlnets.multicontrolnet import MultiControlNetModel as MultiControlNetModel
from ppdiffusers.pipelines.controlnet.base import ControlNetBase
from ppdiffusers.pipelines.stable_diffusion.img2img_base import Img2ImgBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, GuidedPrediction, StepCallbacks, StepEndCallback, inference
from ppdiffusers.pipelines.stages.latents import initial_latents, preprocess_images
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import first_timestep, retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionControlNetImg2ImgPipeline(ControlNetBase, Img2ImgBase):
    """Generate images from images, prompts and control images; the components are those of `ControlNetBase`."""

    _callback_tensor_inputs = ("latents", "prompt_embeds", "negative_prompt_embeds", "control_image")
    check_inputs: Any = ControlNetBase.check_inputs  # it has other arguments than that of `Img2ImgBase`

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
        callbacks = StepCallbacks(callback_on_step_end, callback_on_step_end_tensor_inputs, callback, callback_steps)
        control = self._control(
            control_image, controlnet_conditioning_scale, control_guidance_start, control_guidance_end, guess_mode
        )
        channels = self.unet.config.in_channels
        prompts = checks.num_prompts(prompt, prompt_embeds)
        height, width, size_problems = control.size(prompts, height, width, self.vae_scale_factor, image, self.vae)
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
                callback_on_step_end_tensor_inputs=callbacks.tensor_inputs,
            ),
            size_problems,
            checks.check_images(image=image),
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

        # 2. control images; latents of the image, noised to the first of these timesteps
        control_image = control.prepare(
            self.prepare_control_image,
            width=width,
            height=height,
            batch_size=batch_size,
            num_images_per_prompt=num_images_per_prompt,
            device=self.device,
            do_classifier_free_guidance=self.do_classifier_free_guidance,
        )  # [2B or B, C, H, W], or a list
        if latents is None:
            latents = self.prepare_latents(
                preprocess_images(self.image_processor, self.vae, image, height=height, width=width),  # [N, 3, H, W]
                first_timestep(timesteps, batch_size),
                prompts,
                num_images_per_prompt,
                prompt_embeds.dtype,
                self.device,
                generator,
            )  # [B, C, h, w]
        else:
            latents = initial_latents(latents.shape, 1.0, prompt_embeds.dtype, latents=latents)

        # 3. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoder", prompt_embeds)
        loop.finite.note("the VAE's encoder", latents)
        predict = GuidedPrediction(
            self._denoiser(latents, image_conditions), self._guide, control.guide(self.scheduler, len(timesteps))
        )
        tensors = loop.run(
            predict,
            {
                "latents": latents,
                "prompt_embeds": prompt_embeds,
                "negative_prompt_embeds": conditioning.negative_prompt_embeds,  # [B, L, D]
                "control_image": control_image,
            },
            self.prepare_extra_step_kwargs(generator, eta),
        )

        # 4. decode and run the safety checker
        images, has_nsfw_concept = self._images(
            tensors["latents"], output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(images, has_nsfw_concept, return_dict)
