"""Image to image with Stable Diffusion XL, and its refiner. Podell et al., "SDXL", arXiv 2307.01952."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion_xl.img2img_base import StableDiffusionXLImg2ImgBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, GuidedPrediction, StepCallbacks, StepEndCallback, inference
from ppdiffusers.pipelines.stages.guidance import rescale_noise_cfg as rescale_noise_cfg
from ppdiffusers.pipelines.stages.latents import initial_latents
from ppdiffusers.pipelines.stages.latents import retrieve_latents as retrieve_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import Size, SizeConditions
from ppdiffusers.pipelines.stages.timesteps import first_timestep
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps as retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionXLImg2ImgPipeline(StableDiffusionXLImg2ImgBase, IPAdapterMixin):
    """Generate images from images and prompts; the components are those of `StableDiffusionXLImg2ImgBase`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        strength: float = 0.3,
        num_inference_steps: int = 50,
        timesteps: Sequence[int] | np.ndarray | None = None,
        sigmas: Sequence[float] | None = None,
        denoising_start: float | None = None,
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
        """Change images according to prompts, or finish images that another pipeline has begun.

        Arguments that are not listed are those of `StableDiffusionXLPipeline`.

        Args:
            image: images to start from, or their latents [N, C, h, w], such as those of a call with `denoising_end` and
                `output_type="latent"`; the number of generated images is a multiple of N.
            strength: fraction of the steps to run, 0 to 1; it has no effect with `denoising_start`.
            denoising_start: fraction of the noise schedule that `image` has passed; no noise is added to it.
            generator: draws the latents of the image, then the noise.
            latents: noised latents [B, C, h, w], used instead of those of the image.
            original_size, target_size: by default the size of the image.
            negative_original_size, negative_target_size: by default those of the prompt.
            aesthetic_score, negative_aesthetic_score: read by the refiner instead of the target size.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        callbacks = StepCallbacks(callback_on_step_end, callback_on_step_end_tensor_inputs, callback, callback_steps)
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
                strength,
                num_inference_steps,
                callback_steps,
                negative_prompt=negative_prompt,
                negative_prompt_2=negative_prompt_2,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
                callback_on_step_end_tensor_inputs=callbacks.tensor_inputs,
            ),
            self._check_pooled_prompts(**prompts),
            checks.check_images(image=image),
            self._check_sampling(
                callbacks,
                latents=latents,
                generator=generator,
                prompts=num_prompts,
                channels=self.unet.config.in_channels,
                height=None,
                width=None,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
                eta=eta,
            ),
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
        timesteps, num_inference_steps = self._timesteps_to_run(num_inference_steps, strength, timesteps, sigmas)
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoders", prompt_embeds)

        # 3. latents of the image, noised to the first of these timesteps, and sizes
        if latents is None:
            latents = self.prepare_latents(
                self._preprocess(image),  # [N, 3, H, W]
                first_timestep(timesteps, batch_size),
                num_prompts,
                num_images_per_prompt,
                prompt_embeds.dtype,
                self.device,
                generator,
                denoising_start is None,
            )  # [B, C, h, w]
        else:
            latents = initial_latents(latents.shape, 1.0, prompt_embeds.dtype, latents=latents)
        loop.finite.note("the VAE's encoder", latents)
        height, width = (size * self.vae_scale_factor for size in latents.shape[2:])
        add_time_ids = self._time_ids(
            sizes.of_image_to_image(height, width), batch_size, prompt_embeds.dtype
        )  # [2B or B, 6 or 5]

        # 4. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
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

        # 5. decode
        return self._output(self._images(tensors["latents"], output_type, loop.finite), return_dict)

    def check_inputs(
        self,
        prompt: Any,
        prompt_2: Any,
        strength: Any,
        num_inference_steps: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        negative_prompt_2: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
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
            checks.check_strength(strength),
        )
