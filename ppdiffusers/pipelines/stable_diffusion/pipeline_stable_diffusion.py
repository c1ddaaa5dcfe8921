"""Text to image. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, StepEndCallback, inference
from ppdiffusers.pipelines.stages.guidance import rescale_noise_cfg as rescale_noise_cfg
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator


class StableDiffusionPipeline(StableDiffusionBase, IPAdapterMixin):
    """Generate images from prompts; the components are those of `StableDiffusionBase`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
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
        guidance_rescale: float = 0.0,
        clip_skip: int | None = None,
        callback_on_step_end: StepEndCallback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callback | None = None,
        callback_steps: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Generate images from prompts.

        Args:
            prompt: one image (or `num_images_per_prompt`) is generated for each string.
            height, width: in pixels, multiples of 8; by default the UNet's `sample_size`.
            num_inference_steps: number of denoising steps.
            timesteps, sigmas: explicit steps in descending order, for schedulers that support them.
            guidance_scale: classifier-free guidance; at 1 or less there is no guidance and each step takes half the
                time.
            negative_prompt: what the images should not show; it has no effect without guidance.
            num_images_per_prompt: number of images for each prompt.
            eta: of DDIM, 0 to 1: how much noise is added in each step.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a generator of Paddle, or a list with one of them for each image.
            latents: standard normal noise [B, C, height / 8, width / 8], used instead of drawing it.
            prompt_embeds, negative_prompt_embeds: [B, L, D], used instead of the strings.
            ip_adapter_image: image prompt for a loaded IP-Adapter; a list with one entry for each adapter, which may be
                a list of images.
            ip_adapter_image_embeds: a result of `prepare_ip_adapter_image_embeds`, used instead of the images.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent".
            return_dict: if False, return `(images, nsfw_content_detected)`.
            cross_attention_kwargs: keyword arguments of the UNet's attention processors, such as `ip_adapter_masks`:
                for each adapter the regions of its images, from `IPAdapterMaskProcessor`.
            guidance_rescale: phi of arXiv 2305.08891, against over-exposure by large guidance scales.
            clip_skip: number of last layers of the text encoder to skip.
            callback_on_step_end: called after each step as `f(pipeline, index, timestep, tensors)`; tensors in the dict
                that it returns replace those of the loop. It may set `pipeline._interrupt = True` to stop.
            callback_on_step_end_tensor_inputs: names of the tensors that are passed to it.
            callback, callback_steps: the legacy form: `f(index, timestep, latents)`, every `callback_steps` steps.
            prompt_syntax, long_prompts: "webui" supports weights such as `(word:1.3)`; "split" encodes prompts of more
                than 77 tokens in chunks instead of truncating them. See
                `ppdiffusers.pipelines.stages.prompt_encoders`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "scheduler"))
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        height, width = self._size(height, width, latents)
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
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
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
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
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
        self._begin(
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            clip_skip=clip_skip,
            cross_attention_kwargs=cross_attention_kwargs,
        )

        # 1. encode the prompts
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

        # 2. timesteps and initial noise
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        self._num_timesteps = len(timesteps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        denoiser = self._denoiser(
            latents, self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
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
        for i, t in loop.steps():
            noise_pred = self._guide(denoiser(latents, t, prompt_embeds))  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            latents, prompt_embeds, negative_prompt_embeds = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            )

        # 4. decode and run the safety checker
        image, has_nsfw_concept = self._images(
            latents, output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(image, has_nsfw_concept, return_dict)

    def check_inputs(
        self,
        prompt: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
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
            checks.check_size(height=height, width=width),
        )
