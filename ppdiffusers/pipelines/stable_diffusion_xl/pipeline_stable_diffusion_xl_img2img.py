"""Image to image with Stable Diffusion XL, and its refiner. Podell et al., "SDXL", arXiv 2307.01952."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.stable_diffusion_xl.img2img_base import StableDiffusionXLImg2ImgBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, StepEndCallback, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.latents import image_latents, initial_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import Size, SizeConditions
from ppdiffusers.pipelines.stages.timesteps import first_timestep, retrieve_timesteps, timesteps_until
from ppdiffusers.utils.torch_utils import Generator, as_generator, randn_tensor


class StableDiffusionXLImg2ImgPipeline(StableDiffusionXLImg2ImgBase):
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
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
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
                callback_on_step_end_tensor_inputs=tensor_inputs,
            ),
            self._check_pooled_prompts(**prompts),
            checks.check_images(image=image),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
                eta=eta,
            ),
            checks.check_callbacks(callback_on_step_end=callback_on_step_end, callback=callback),
            checks.check_noise(
                latents=latents,
                generator=generator,
                prompts=num_prompts,
                num_images_per_prompt=num_images_per_prompt,
                channels=self.unet.config.in_channels,
                height=None,
                width=None,
                scale_factor=self.vae_scale_factor,
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
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        timesteps, num_inference_steps = self.get_timesteps(
            num_inference_steps, strength, self.device, denoising_start or None
        )
        noise_timestep = first_timestep(timesteps, batch_size)
        timesteps, num_inference_steps = timesteps_until(self.scheduler, timesteps, num_inference_steps, denoising_end)
        self._num_timesteps = len(timesteps)
        loop = DenoisingLoop(
            self,
            timesteps,
            num_inference_steps,
            callback_on_step_end=callback_on_step_end,
            tensor_inputs=tensor_inputs,
            callback=callback,
            callback_steps=callback_steps,
        )
        loop.finite.note("the text encoders", prompt_embeds)

        # 3. latents of the image, noised to the first of these timesteps, and sizes
        if latents is None:
            latents = self.prepare_latents(
                self._preprocess(image),  # [N, 3, H, W]
                noise_timestep,
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
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 4. denoise
        denoiser = UNetDenoiser(
            self.unet,
            self.scheduler,
            timestep_cond=self._timestep_cond(batch_size, latents.dtype),
            cross_attention_kwargs=cross_attention_kwargs,
        )
        for i, t in loop.steps():
            added = {"text_embeds": add_text_embeds, "time_ids": add_time_ids}
            noise_pred = self._guide(denoiser(latents, t, prompt_embeds, added_cond_kwargs=added))  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            latents, prompt_embeds, add_text_embeds, add_time_ids = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                add_text_embeds=add_text_embeds,
                add_time_ids=add_time_ids,
            )

        # 5. decode
        return self._output(self._images(latents, output_type, loop.finite), return_dict)

    def prepare_latents(
        self,
        image: paddle.Tensor,
        timestep: paddle.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator = None,
        add_noise: bool = True,
    ) -> paddle.Tensor:
        """Latents [B, C, h, w] of images [N, 3, H, W] or latents [N, C, h, w].

        Args:
            timestep: noise level of each image, [B].
            add_noise: whether to add noise at all.
        """
        with self._vae_in_float32(paddle.float16, paddle.bfloat16):
            clean = image_latents(self.vae, image, batch_size * num_images_per_prompt, generator).astype(dtype)
        if not add_noise:
            return clean
        return self.scheduler.add_noise(clean, randn_tensor(clean.shape, generator=generator, dtype=dtype), timestep)

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
            checks.check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            checks.check_strength(strength),
            checks.check_callbacks(
                callback_steps=callback_steps,
                tensor_inputs=callback_on_step_end_tensor_inputs,
                allowed=self._callback_tensor_inputs,
            ),
            checks.check_no_ip_adapter(ip_adapter_image, ip_adapter_image_embeds),
        )
