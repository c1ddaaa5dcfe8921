"""Text to image in few steps. Luo et al., "Latent Consistency Models", arXiv 2310.04378."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.latent_consistency_models.base import LatentConsistencyBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, StepEndCallback, inference
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class LatentConsistencyModelPipeline(LatentConsistencyBase):
    """Generate images from prompts in 1 to 8 steps; the components are those of `LatentConsistencyBase`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 4,
        original_inference_steps: int | None = None,
        timesteps: Sequence[int] | np.ndarray | None = None,
        guidance_scale: float = 8.5,
        num_images_per_prompt: int | None = 1,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
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
        """Generate images from prompts.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            num_inference_steps: 1 to 8 are usual; they are selected evenly from those of the distillation.
            original_inference_steps: number of steps of the distillation; by default that of the scheduler.
            timesteps: explicit steps in descending order, used instead of `num_inference_steps`.
            guidance_scale: an input of the UNet; a step takes the same time with every scale.
            generator: draws the initial noise, then the noise of each step.
            callback_on_step_end: its tensors are `latents`, `denoised` (the clean latents that the step predicts),
                `prompt_embeds` and `w_embedding` (the embedded guidance scale).

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        self._check_components("unet", "scheduler")
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        height, width = self._size_of_each(height, width, latents)
        channels = self.unet.config.in_channels
        prompts = checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                height,
                width,
                callback_steps,
                prompt_embeds=prompt_embeds,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                callback_on_step_end_tensor_inputs=tensor_inputs,
            ),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                timesteps=timesteps,
                guidance_scale=guidance_scale,
            ),
            self._check_original_steps(original_inference_steps),
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
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. timesteps, prompts
        timesteps, num_inference_steps = retrieve_timesteps(
            self.scheduler, num_inference_steps, timesteps, original_inference_steps=original_inference_steps
        )
        self._num_timesteps = len(timesteps)
        prompt_embeds = self._conditioning(
            prompt=prompt,
            prompt_embeds=prompt_embeds,
            num_images_per_prompt=num_images_per_prompt,
            clip_skip=clip_skip,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        ).prompt_embeds  # [B, L, D]
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

        # 2. initial noise, denoise
        latents = self.prepare_latents(
            prompts * num_images_per_prompt,
            channels,
            height,
            width,
            prompt_embeds.dtype,
            self.device,
            generator,
            latents,
        )  # [B, C, h, w]
        conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, latents.shape[0])
        denoised, prompt_embeds = self._denoise(loop, latents, prompt_embeds, generator, conditions)

        # 3. decode and run the safety checker
        image, has_nsfw_concept = self._images(
            denoised, output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(image, has_nsfw_concept, return_dict)

    def check_inputs(
        self,
        prompt: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        checks.raise_problems(
            self,
            self._check_prompts(
                prompt=prompt,
                prompt_embeds=prompt_embeds,
                callback_steps=callback_steps,
                tensor_inputs=callback_on_step_end_tensor_inputs,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
            ),
            checks.check_size(height=height, width=width),
        )
