"""Text to image with Stable Diffusion XL. Podell et al., "SDXL", arXiv 2307.01952."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion_xl.base import StableDiffusionXLBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, GuidedPrediction, StepCallbacks, StepEndCallback, inference
from ppdiffusers.pipelines.stages.guidance import rescale_noise_cfg as rescale_noise_cfg
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import Size, SizeConditions
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps, timesteps_until
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionXLPipeline(StableDiffusionXLBase, IPAdapterMixin):
    """Generate images from prompts; the components are those of `StableDiffusionXLBase`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        timesteps: Sequence[int] | np.ndarray | None = None,
        sigmas: Sequence[float] | None = None,
        denoising_end: float | None = None,
        guidance_scale: float = 5.0,
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
        clip_skip: int | None = None,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callback | None = None,
        callback_steps: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionXLPipelineOutput | tuple:
        """Generate images from prompts.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            prompt_2, negative_prompt_2: prompts of the second text encoder, by default those of the first one.
            height, width: in pixels, multiples of 8; by default the UNet's `sample_size`.
            denoising_end: fraction of the noise schedule to run, more than 0 and at most 1; the refiner runs the rest.
            prompt_embeds, negative_prompt_embeds: [B, L, D], used instead of the strings, together with
                `pooled_prompt_embeds` and `negative_pooled_prompt_embeds`, [B, P].
            return_dict: if False, return `(images,)`.
            original_size, target_size: (height, width) that the image should appear to have had before and after
                resizing; by default (height, width).
            crops_coords_top_left: (top, left) at which the image should appear to be cropped.
            negative_original_size, negative_crops_coords_top_left, negative_target_size: the same for the unconditional
                prediction; they have an effect if both sizes are given.
            callback_on_step_end_tensor_inputs: "latents", "prompt_embeds", "add_text_embeds" and "add_time_ids" are
                available.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "scheduler"))
        callbacks = StepCallbacks(callback_on_step_end, callback_on_step_end_tensor_inputs, callback, callback_steps)
        given_height, given_width = height, width
        height, width = self._size_of_each(height, width)
        channels = self.unet.config.in_channels
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
        )
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                height=height,
                width=width,
                callback_steps=callback_steps,
                **prompts,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                callback_on_step_end_tensor_inputs=callbacks.tensor_inputs,
            ),
            self._check_sampling(
                callbacks,
                latents=latents,
                generator=generator,
                prompts=num_prompts,
                channels=channels,
                height=given_height,  # given latents may have any size otherwise
                width=given_width,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
                eta=eta,
            ),
            checks.check_denoising_range(denoising_end=denoising_end),
            self._check_sizes(sizes, pooled_prompt_embeds),
        )
        batch_size = num_prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._denoising_end = denoising_end
        self._begin(
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            clip_skip=clip_skip,
            cross_attention_kwargs=cross_attention_kwargs,
        )

        # 1. encode the prompts and the sizes
        conditioning = self._conditioning(
            **prompts,
            num_images_per_prompt=num_images_per_prompt,
            clip_skip=clip_skip,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]
        add_text_embeds = conditioning.guided_pooled()  # [2B or B, P]
        add_time_ids = self._time_ids(
            sizes.of_text_to_image(height, width), batch_size, prompt_embeds.dtype
        )  # [2B or B, 6]

        # 2. timesteps and initial noise
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        timesteps, num_inference_steps = timesteps_until(self.scheduler, timesteps, num_inference_steps, denoising_end)
        self._num_timesteps = len(timesteps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]

        # 3. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoders", prompt_embeds)
        tensors = loop.run(
            GuidedPrediction(self._denoiser(latents, image_conditions), self._guide),
            {
                "latents": latents,
                "prompt_embeds": prompt_embeds,
                "add_text_embeds": add_text_embeds,
                "add_time_ids": add_time_ids,
            },
            self.prepare_extra_step_kwargs(generator, eta),
        )

        # 4. decode
        return self._output(self._images(tensors["latents"], output_type, loop.finite), return_dict)

    def check_inputs(
        self,
        prompt: Any,
        prompt_2: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        negative_prompt_2: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        pooled_prompt_embeds: Any = None,
        negative_pooled_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            self._check_all_prompts(
                prompt=prompt,
                prompt_2=prompt_2,
                negative_prompt=negative_prompt,
                negative_prompt_2=negative_prompt_2,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                pooled_prompt_embeds=pooled_prompt_embeds,
                negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
                callback_steps=callback_steps,
                tensor_inputs=callback_on_step_end_tensor_inputs,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
            ),
            checks.check_size(height=height, width=width),
        )
