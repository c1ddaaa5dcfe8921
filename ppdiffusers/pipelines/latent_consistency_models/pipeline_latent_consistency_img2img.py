"""Image to image in few steps.

Consistency sampling (arXiv 2310.04378) starts from a noised image (arXiv 2108.01073).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.latent_consistency_models.base import LatentConsistencyBase
from ppdiffusers.pipelines.stable_diffusion.img2img_base import Img2ImgBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, StepEndCallback, inference
from ppdiffusers.pipelines.stages.latents import initial_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import first_timestep, retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class LatentConsistencyModelImg2ImgPipeline(LatentConsistencyBase, Img2ImgBase):
    """Generate images from images and prompts; the components are those of `LatentConsistencyBase`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        num_inference_steps: int = 4,
        strength: float = 0.8,
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
        """Change images according to prompts.

        Arguments that are not listed are those of `LatentConsistencyModelPipeline`.

        Args:
            image: images to start from, or their latents [N, C, h, w]; the number of generated images is a multiple
                of N. The results have the size of the image, rounded down to multiples of 8.
            num_inference_steps: all of these steps run, whatever `strength` is.
            strength: noise level of the first step, 0 to 1, as a fraction of the steps of the distillation. Of explicit
                `timesteps`, this fraction runs.
            generator: draws the latents of the image, its noise, then the noise of each step.
            latents: noised latents [B, C, h, w], used instead of those of the image.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        self._check_components("unet", "vae", "scheduler")
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        prompts = checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                strength,
                callback_steps,
                prompt_embeds=prompt_embeds,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                callback_on_step_end_tensor_inputs=tensor_inputs,
            ),
            checks.check_images(image=image),
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
                channels=self.unet.config.in_channels,
                height=None,
                width=None,
                scale_factor=self.vae_scale_factor,
            ),
        )
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. timesteps, prompts
        timesteps, num_inference_steps = retrieve_timesteps(
            self.scheduler,
            num_inference_steps,
            timesteps,
            original_inference_steps=original_inference_steps,
            strength=strength,
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

        # 2. latents of the image, noised to the first timestep
        if latents is None:
            latents = self.prepare_latents(
                self._preprocess(image),  # [N, 3, H, W]
                first_timestep(timesteps, prompts * num_images_per_prompt),
                prompts,
                num_images_per_prompt,
                prompt_embeds.dtype,
                self.device,
                generator,
            )  # [B, C, h, w]
            loop.finite.note("the VAE's encoder", latents)
        else:
            latents = initial_latents(latents.shape, 1.0, prompt_embeds.dtype, latents=latents)

        # 3. denoise
        conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, latents.shape[0])
        denoised, prompt_embeds = self._denoise(loop, latents, prompt_embeds, generator, conditions)

        # 4. decode and run the safety checker
        image, has_nsfw_concept = self._images(
            denoised, output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(image, has_nsfw_concept, return_dict)

    def check_inputs(
        self,
        prompt: Any,
        strength: Any,
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
            checks.check_strength(strength),
        )
