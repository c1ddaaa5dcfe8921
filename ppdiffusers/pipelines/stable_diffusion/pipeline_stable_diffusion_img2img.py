"""Picture and text to picture. Meng et al., "SDEdit", arXiv 2108.01073: start from a noised picture, not from noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.from_picture import FromPictureMixin
from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages.run import Loop, inference, retrieve_timesteps
from ppdiffusers.pipelines.stages.text_guided import TextGuidedMixin
from ppdiffusers.utils.torch_utils import as_generator


class StableDiffusionImg2ImgPipeline(FromPictureMixin, TextGuidedMixin, DiffusionPipeline, StableDiffusionMixin):
    """Pictures made from a picture and a prompt; the components are those of `TextGuidedMixin`."""

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        strength: float = 0.8,
        num_inference_steps: int | None = 50,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        guidance_scale: float | None = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float | None = 0.0,
        generator: Any = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        ip_adapter_image: PipelineImageInput | None = None,
        ip_adapter_image_embeds: list[paddle.Tensor] | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        cross_attention_kwargs: dict[str, Any] | None = None,
        clip_skip: int | None = None,
        callback_on_step_end: Callable[[Any, int, Any, dict], dict] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int | None = None,
        prompt_syntax: str = "plain",
        long_prompts: str = "split",
    ) -> StableDiffusionPipelineOutput | tuple:
        """Change pictures towards the prompts.

        Arguments that are not listed mean what they mean in `StableDiffusionPipeline`.

        Args:
            prompt: what to paint; one picture (or `num_images_per_prompt`) for each text.
            image: the pictures to start from, or their latents [N, C, h, w]; N divides the number of pictures painted.
                The result has their size, cut to multiples of 8.
            strength: how far to go, 0 to 1: this share of the steps is taken, and at 1 little is left of the picture.
            generator: draws the picture's latents first, then the noise on them.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        batch_size = checks.batch_of(prompt, prompt_embeds)
        self.check_inputs(
            prompt,
            strength,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            ip_adapter_image,
            ip_adapter_image_embeds,
            tensor_inputs,
            checks.check_pictures(image=image),
            checks.check_sampling(
                self.scheduler,
                num_inference_steps,
                num_images_per_prompt,
                output_type,
                timesteps,
                sigmas,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(callback_on_step_end, (), (), callback, None),
            checks.check_generators_of(generator, batch_size, num_images_per_prompt),
        )
        generator = as_generator(generator)
        self._begin(guidance_scale, 0.0, clip_skip, cross_attention_kwargs)

        # 1. the steps that are left, the prompt, the picture
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        timesteps, num_inference_steps = self.get_timesteps(num_inference_steps, strength, self.device)
        self._num_timesteps = len(timesteps)
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
        loop = Loop(self, timesteps, num_inference_steps, callback_on_step_end, tensor_inputs, callback, callback_steps)
        loop.watch.note("the text encoder", prompt_embeds)

        # 2. the picture's latents, noised to the first of these steps
        image = self.image_processor.preprocess(image)  # [N, 3, H, W]
        latents = self.prepare_latents(
            image,
            timesteps[:1].repeat(batch_size * num_images_per_prompt),
            batch_size,
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            generator,
        )  # [B, C, h, w]
        loop.watch.note("the VAE's encoder", latents)
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)
        timestep_cond = self._guidance_condition(latents.shape[0], latents.dtype)

        # 3. denoise
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
        strength: Any,
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
        super().check_inputs(
            prompt,
            strength,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            callback_on_step_end_tensor_inputs,
            checks.check_no_ip_adapter(ip_adapter_image, ip_adapter_image_embeds),
            *more_findings,
        )
