"""Editing a picture by an instruction. Brooks et al., "InstructPix2Pix", arXiv 2211.09800: two kinds of guidance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.images import encode_distribution, repeat_to
from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages.run import FiniteWatch, Loop, inference, retrieve_timesteps
from ppdiffusers.pipelines.stages.text_guided import TextGuidedMixin
from ppdiffusers.utils.torch_utils import as_generator


class StableDiffusionInstructPix2PixPipeline(TextGuidedMixin, DiffusionPipeline, StableDiffusionMixin):
    """Pictures edited by instructions; the components are those of `TextGuidedMixin`, with a UNet of 8 channels."""

    _callback_tensor_inputs = ("latents", "prompt_embeds", "image_latents")
    _mended_settings = ()
    _image_guidance_scale = 1.0

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        num_inference_steps: int = 100,
        guidance_scale: float = 7.5,
        image_guidance_scale: float = 1.5,
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
        callback_on_step_end: Callable[[Any, int, Any, dict], dict] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        cross_attention_kwargs: dict[str, Any] | None = None,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int | None = None,
        prompt_syntax: str = "plain",
        long_prompts: str = "split",
    ) -> StableDiffusionPipelineOutput | tuple:
        """Edit pictures by the prompts.

        Arguments that are not listed mean what they mean in `StableDiffusionPipeline`.

        Args:
            prompt: what to change, as an instruction: "make it winter".
            image: the pictures to edit, or their latents [N, C, h, w] as the VAE gives them; N divides the number of
                pictures painted. The result has their size, cut to multiples of 8.
            guidance_scale: s_T of the paper: how strongly the instruction is followed.
            image_guidance_scale: s_I: how closely the picture is kept, from 1 on. There is no guidance at all, neither
                by the text, if this is below 1 or `guidance_scale` is not above 1.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
            ConfigError: the UNet takes another number of channels than the latents and the picture have.
        """
        tensor_inputs = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        prompts = checks.batch_of(prompt, prompt_embeds)
        channels = self.vae.config.latent_channels
        self.check_inputs(
            prompt,
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
                guidance_scale=guidance_scale,
                image_guidance_scale=image_guidance_scale,
                eta=eta,
            ),
            checks.check_callbacks(callback_on_step_end, (), (), callback, None),
            checks.check_generators_of(generator, prompts, num_images_per_prompt),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale, cross_attention_kwargs=cross_attention_kwargs)
        self._image_guidance_scale = image_guidance_scale

        # 1. the prompt; the UNet sees text and picture, the picture alone, neither of them
        prompt_embeds, negative_prompt_embeds = self._embed_each(
            prompt,
            num_images_per_prompt,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            None,
            prompt_syntax,
            long_prompts,
        )  # [B, L, D]
        if self.do_classifier_free_guidance:
            prompt_embeds = paddle.concat([prompt_embeds, negative_prompt_embeds, negative_prompt_embeds])  # [3B, L, D]

        # 2. the steps, the picture's latents, the noise to start from
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        self._num_timesteps = len(timesteps)
        loop = Loop(self, timesteps, num_inference_steps, callback_on_step_end, tensor_inputs, callback, callback_steps)
        loop.watch.note("the text encoder", prompt_embeds)
        image_latents = self.prepare_image_latents(
            self.image_processor.preprocess(image),
            prompts,
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            self.do_classifier_free_guidance,
            watch=loop.watch,
        )  # [3B or B, C, h, w]
        self._check_channels(channels + image_latents.shape[1])
        height, width = (side * self.vae_scale_factor for side in image_latents.shape[2:])
        checks.refuse(self, checks.check_latents(latents, (batch_size, channels, *image_latents.shape[2:])))
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        for i, t in loop.steps():
            model_input = paddle.concat([latents] * 3) if self.do_classifier_free_guidance else latents
            model_input = self.scheduler.scale_model_input(model_input, t)
            noise_pred = self.unet(
                paddle.concat([model_input, image_latents], axis=1),  # [3B or B, 2C, h, w]
                t,
                encoder_hidden_states=prompt_embeds,
                cross_attention_kwargs=cross_attention_kwargs,
                return_dict=False,
            )[0]  # [3B or B, C, h, w]
            if self.do_classifier_free_guidance:
                noise_pred = guide_by_text_and_picture(noise_pred, self.guidance_scale, self.image_guidance_scale)
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            latents, prompt_embeds, image_latents = loop.end_step(
                i, t, latents=latents, prompt_embeds=prompt_embeds, image_latents=image_latents
            )

        # 4. decode, judge
        picture, has_nsfw_concept = self._pictures(latents, output_type, prompt_embeds.dtype, loop.watch)
        return self._output(picture, has_nsfw_concept, return_dict)

    def check_inputs(
        self,
        prompt: Any,
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
            checks.check_callbacks(
                None, callback_on_step_end_tensor_inputs, self._callback_tensor_inputs, None, callback_steps
            ),
            checks.check_no_ip_adapter(ip_adapter_image, ip_adapter_image_embeds),
            *more_findings,
        )

    def prepare_image_latents(
        self,
        image: paddle.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: Any,
        device: Any,
        do_classifier_free_guidance: bool,
        generator: Any = None,
        watch: FiniteWatch | None = None,
    ) -> paddle.Tensor:
        """What the UNet sees of the picture: [B, C, h, w], or [3B, C, h, w] with guidance, of which a third is zero.

        It is the mean of the VAE's distribution, which is not scaled: so was the UNet trained. Nothing is drawn.

        Args:
            image: pictures [N, 3, H, W] in [-1, 1], or such latents [N, C, h, w].
        """
        if image.shape[1] != self.vae.config.latent_channels:
            image = encode_distribution(self.vae, image, watch).mode()
        latents = repeat_to(image.astype(dtype), batch_size * num_images_per_prompt)
        if not do_classifier_free_guidance:
            return latents
        return paddle.concat([latents, latents, paddle.zeros_like(latents)])

    def _check_channels(self, seen: int) -> None:
        if seen != self.unet.config.in_channels:
            raise ConfigError(
                f"The UNet takes {self.unet.config.in_channels} channels; latents and picture have {seen}.",
                expected="the UNet of an InstructPix2Pix checkpoint, such as timbrooks/instruct-pix2pix",
            )

    @property
    def image_guidance_scale(self) -> float:
        return self._image_guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return self.guidance_scale > 1.0 and self.image_guidance_scale >= 1.0


def guide_by_text_and_picture(
    noise_pred: paddle.Tensor, guidance_scale: float, image_guidance_scale: float
) -> paddle.Tensor:
    """Predictions [3B, C, H, W] with text and picture, with the picture, with neither -> [B, C, H, W]: equation 3."""
    both, picture, neither = noise_pred.chunk(3)
    return neither + guidance_scale * (both - picture) + image_guidance_scale * (picture - neither)
