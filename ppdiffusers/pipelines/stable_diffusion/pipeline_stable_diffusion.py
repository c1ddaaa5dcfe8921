"""Text to picture. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages.run import Loop, inference, retrieve_timesteps
from ppdiffusers.pipelines.stages.text_guided import TextGuidedMixin
from ppdiffusers.utils.torch_utils import as_generator


class StableDiffusionPipeline(TextGuidedMixin, DiffusionPipeline, StableDiffusionMixin):
    """Pictures from prompts; the components are those of `TextGuidedMixin`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Any = None,
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
        callback_on_step_end: Callable[[Any, int, Any, dict], dict] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int | None = None,
        prompt_syntax: str = "plain",
        long_prompts: str = "split",
    ) -> StableDiffusionPipelineOutput | tuple:
        """Paint pictures of the prompts.

        Args:
            prompt: what to paint; one picture (or `num_images_per_prompt`) for each text.
            height, width: pixels, multiples of 8; by default what the UNet was trained for.
            num_inference_steps: fewer are quicker and coarser.
            timesteps, sigmas: the steps one by one, falling, for schedulers that take them.
            guidance_scale: how strongly the prompt is followed; 1 or less is without guidance and twice as fast.
            negative_prompt: what to keep away from; without guidance it has no effect.
            num_images_per_prompt: pictures for each prompt.
            eta: share of fresh noise in each DDIM step, 0 to 1.
            generator: of the noise: None, an integer seed (the stream of `torch.manual_seed`), a `TorchGenerator`,
                a `paddle.Generator`, or a list with one of them for each picture.
            latents: standard normal noise [B, C, height / 8, width / 8] to start from, instead of drawing it.
            prompt_embeds, negative_prompt_embeds: [B, L, D], instead of the texts.
            ip_adapter_image, ip_adapter_image_embeds: must be None: this pipeline holds no image prompt adapter.
            output_type: "pil", "np" ([B, H, W, 3] in [0, 1]), "pd" (a tensor [B, 3, H, W] in [0, 1]) or "latent".
            return_dict: False gives `(images, nsfw_content_detected)`.
            cross_attention_kwargs: handed to the UNet's attention.
            guidance_rescale: phi of arXiv 2305.08891, against over-exposure from strong guidance.
            clip_skip: how many of the text encoder's last layers are left out.
            callback_on_step_end: called after each step as `f(pipeline, index, timestep, tensors)`; what it returns
                (a dict) replaces the tensors. It may set `pipeline._interrupt = True` to stop.
            callback_on_step_end_tensor_inputs: names of the tensors it is given.
            callback, callback_steps: the older form: `f(index, timestep, latents)`, every so many steps.
            prompt_syntax, long_prompts: "webui" takes weights such as `(word:1.3)`; "truncate" cuts a prompt that the
                text encoder cannot read at once, as diffusers does. See `ppdiffusers.pipelines.stages.prompts`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        height, width = self._size(height, width, latents)
        channels = self.unet.config.in_channels
        self.check_inputs(
            prompt,
            height,
            width,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            ip_adapter_image,
            ip_adapter_image_embeds,
            tensor_inputs,
            checks.check_sampling(
                self.scheduler,
                num_inference_steps,
                num_images_per_prompt,
                output_type,
                timesteps,
                sigmas,
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
                eta=eta,
            ),
            checks.check_callbacks(
                callback_on_step_end, tensor_inputs, self._callback_tensor_inputs, callback, callback_steps
            ),
            checks.check_noise(
                latents,
                generator,
                checks.batch_of(prompt, prompt_embeds),
                num_images_per_prompt,
                channels,
                (height, width),
                self.vae_scale_factor,
            ),
        )
        batch_size = checks.batch_of(prompt, prompt_embeds) * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale, guidance_rescale, clip_skip, cross_attention_kwargs)

        # 1. the prompt; with guidance, what to keep away from comes first in the batch
        prompt_embeds, negative_prompt_embeds = self._embed(
            prompt,
            num_images_per_prompt,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            clip_skip,
            prompt_syntax,
            long_prompts,
        )  # [2B or B, L, D]

        # 2. the steps, and the noise to start from
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        self._num_timesteps = len(timesteps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)
        timestep_cond = self._guidance_condition(batch_size, latents.dtype)

        # 3. denoise
        loop = Loop(self, timesteps, num_inference_steps, callback_on_step_end, tensor_inputs, callback, callback_steps)
        loop.watch.note("the text encoder", prompt_embeds)
        for i, t in loop.steps():
            noise_pred = self._predict(latents, t, prompt_embeds, timestep_cond)  # [2B or B, C, h, w]
            noise_pred = self._guide(noise_pred)  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            latents, prompt_embeds, negative_prompt_embeds = loop.end_step(
                i,
                t,
                latents=latents,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            )

        # 4. decode, judge
        image, has_nsfw_concept = self._pictures(latents, output_type, prompt_embeds.dtype, loop.watch)
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
        *more_findings: list[str],
    ) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        checks.refuse(
            self,
            checks.check_prompts(prompt, prompt_embeds, negative_prompt, negative_prompt_embeds),
            checks.check_size(height, width),
            checks.check_callbacks(
                None, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs, None, callback_steps
            ),
            checks.check_no_ip_adapter(ip_adapter_image, ip_adapter_image_embeds),
            *more_findings,
        )
