"""Latents, or a picture, and text to a picture twice as wide and high: the upscaler `sd-x2-latent-upscaler`.

A UNet of k-diffusion under the preconditioning of Karras et al., "Elucidating the Design Space of Diffusion-Based
Generative Models" (arXiv 2206.00364). It sees the small latents, doubled, beside the noisy ones, the text's hidden
states by attention, and the pooled text as a condition of the time embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.models.blocks.resampling import repeat_pixels
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput, StableDiffusionMixin
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.guidance import guide
from ppdiffusers.pipelines.stages.images import decode_latents, first_image_latents
from ppdiffusers.pipelines.stages.prompts import run_text_encoder, tokenize
from ppdiffusers.pipelines.stages.run import Loop, inference, retrieve_timesteps
from ppdiffusers.pipelines.stages.text_guided import LatentsMixin
from ppdiffusers.pipelines.stages.upscaling import UpscalerMixin
from ppdiffusers.utils.torch_utils import as_generator

# Fourier features of the noise on the small latents, cosines and sines, which were trained with noise and get none.
NO_NOISE = (1.0,) * 64 + (0.0,) * 64


class StableDiffusionLatentUpscalePipeline(UpscalerMixin, LatentsMixin, DiffusionPipeline, StableDiffusionMixin):
    """Pictures twice as wide and high as the given ones, or as the pictures of the given latents.

    Args:
        vae: the `AutoencoderKL` that the latents are of: Stable Diffusion's.
        text_encoder, tokenizer: a `CLIPTextModel` and its `CLIPTokenizer`.
        unet: a `UNet2DConditionModel` of k-diffusion's blocks, whose last output channel is not used.
        scheduler: an `EulerDiscreteScheduler` that takes x_0 (`prediction_type="sample"`), or another one with sigmas.
    """

    def __init__(self, vae: Any, text_encoder: Any, tokenizer: Any, unet: Any, scheduler: Any):
        super().__init__()
        self._register(
            resample="bicubic", vae=vae, text_encoder=text_encoder, tokenizer=tokenizer, unet=unet, scheduler=scheduler
        )

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        num_inference_steps: int = 75,
        guidance_scale: float = 9.0,
        negative_prompt: str | list[str] | None = None,
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        pooled_prompt_embeds: paddle.Tensor | None = None,
        negative_pooled_prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Paint the pictures larger.

        Arguments that are not listed mean what they mean in `StableDiffusionPipeline`.

        Args:
            prompt: what is to be seen. Of a text of more than 77 tokens the first 77 are read: it is pooled, too.
            image: the pictures, with sides that are multiples of 32 and at least 64, or the latents [N, C, h, w] that a
                pipeline gave with `output_type="latent"`; as many as there are prompts, or one for all of them.
            guidance_scale: 1 or less is without guidance; at 0 the prompt is not read at all.
            generator: draws the pictures' latents first, then the noise.
            latents: standard normal noise [B, C, 2 h, 2 w].
            prompt_embeds, negative_prompt_embeds: [B, L, D], together with `pooled_prompt_embeds` and
                `negative_pooled_prompt_embeds`, [B, D].
            return_dict: False gives `(images,)`.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        batch_size = checks.batch_of(prompt, prompt_embeds)
        self.check_inputs(
            prompt,
            image,
            callback_steps,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            pooled_prompt_embeds,
            negative_pooled_prompt_embeds,
            checks.check_sampling(self.scheduler, num_inference_steps, 1, output_type, guidance_scale=guidance_scale),
            checks.check_callbacks(None, (), (), callback, None),
            checks.check_generators_of(generator, batch_size, 1),
        )
        generator = as_generator(generator)
        guided = guidance_scale > 1
        if guidance_scale == 0 and prompt_embeds is None:
            prompt = [""] * batch_size

        # 1. the steps; the prompt, what to keep away from first
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds, negative_pooled_prompt_embeds = self.encode_prompt(
            prompt,
            self.device,
            guided,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            pooled_prompt_embeds,
            negative_pooled_prompt_embeds,
        )  # [B, L, D] twice, [B, D] twice
        if guided:
            prompt_embeds = paddle.concat([negative_prompt_embeds, prompt_embeds])  # [2B, L, D]
            pooled_prompt_embeds = paddle.concat([negative_pooled_prompt_embeds, pooled_prompt_embeds])  # [2B, D]
        loop = Loop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.watch.note("the text encoder", prompt_embeds)

        # 2. the small latents, and the noise to start from
        image = self.image_processor.preprocess(image)  # [N, 3, H, W] or [N, C, h, w]
        small = first_image_latents(self.vae, image, batch_size, generator, loop.watch)  # [B, C, h, w]
        checks.refuse(self, self._check_small(small))
        condition = repeat_pixels(small.astype(prompt_embeds.dtype))  # [B, C, 2h, 2w]
        latents = self.prepare_latents(*condition.shape, prompt_embeds.dtype, self.device, generator, latents)
        timestep_cond = paddle.to_tensor(NO_NOISE, dtype=pooled_prompt_embeds.dtype)
        timestep_cond = timestep_cond.expand([pooled_prompt_embeds.shape[0], len(NO_NOISE)])
        timestep_cond = paddle.concat([timestep_cond, pooled_prompt_embeds], axis=1)  # [2B or B, 128 + D]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, 0.0)

        # 3. denoise
        for i, t in loop.steps():
            sigma = float(self.scheduler.sigmas[i])
            model_input = paddle.concat([latents] * 2) if guided else latents
            scaled = self.scheduler.scale_model_input(model_input, t)
            predicted = self.unet(
                paddle.concat([scaled, paddle.concat([condition] * 2) if guided else condition], axis=1),
                np.float32(0.25 * math.log(sigma)),
                encoder_hidden_states=prompt_embeds,
                timestep_cond=timestep_cond,
                return_dict=False,
            )[0][:, :-1]  # [2B or B, C, 2h, 2w]
            # x_0 = c_skip x + c_out F(c_in x; c_noise), table 1 with sigma_data = 1
            variance = sigma**2 + 1
            predicted = model_input / variance + predicted * (sigma / math.sqrt(variance))
            if guided:
                predicted = guide(predicted, guidance_scale)
            latents = self.scheduler.step(predicted, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode
        if output_type != "latent":
            latents = decode_latents(self.vae, latents, loop.watch)  # [B, 3, 2H, 2W]
        loop.watch.warn()
        images = self.image_processor.postprocess(latents, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def encode_prompt(
        self,
        prompt: str | list[str] | None,
        device: Any,
        do_classifier_free_guidance: bool,
        negative_prompt: str | list[str] | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        pooled_prompt_embeds: paddle.Tensor | None = None,
        negative_pooled_prompt_embeds: paddle.Tensor | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None, paddle.Tensor, paddle.Tensor | None]:
        """(prompt_embeds, negative_prompt_embeds, [B, L, D] each, and the same pooled, [B, D] each).

        The hidden states are the last layer's without the norm that follows it. `device` has no effect: the result is
        where the text encoder is.
        """
        if prompt_embeds is None or pooled_prompt_embeds is None:
            texts = [prompt] if isinstance(prompt, str) else prompt
            prompt_embeds, pooled_prompt_embeds = self._states(texts, tell_truncation=True)
        missing = negative_prompt_embeds is None or negative_pooled_prompt_embeds is None
        if do_classifier_free_guidance and missing:
            batch_size = prompt_embeds.shape[0]
            avoided = negative_prompt if isinstance(negative_prompt, list) else [negative_prompt or ""] * batch_size
            negative_prompt_embeds, negative_pooled_prompt_embeds = self._states(avoided)
        return prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds, negative_pooled_prompt_embeds

    def _states(self, texts: list[str], tell_truncation: bool = False) -> tuple[paddle.Tensor, paddle.Tensor]:
        """The text encoder's last hidden states before its norm [B, L, D], and the pooled ones [B, D]."""
        ids, mask = tokenize(self.tokenizer, texts, tell_truncation=tell_truncation)
        output = run_text_encoder(self.text_encoder, ids, mask, output_hidden_states=True, return_dict=True)
        return output.hidden_states[-1], output.pooler_output

    def check_inputs(
        self,
        prompt: Any,
        image: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        pooled_prompt_embeds: Any = None,
        negative_pooled_prompt_embeds: Any = None,
        *more_findings: list[str],
    ) -> None:
        """Raise one InputError that lists everything wrong with the arguments."""
        pairs = {
            "prompt_embeds": (prompt_embeds, pooled_prompt_embeds),
            "negative_prompt_embeds": (negative_prompt_embeds, negative_pooled_prompt_embeds),
        }
        alone = [
            f"`{name}` and `{name.replace('prompt', 'pooled_prompt')}` go together: one of them is missing"
            for name, (whole, pooled) in pairs.items()
            if (whole is None) != (pooled is None)
        ]
        sigmas = [] if hasattr(self.scheduler, "sigmas") else [f"{type(self.scheduler).__name__} has no `sigmas`"]
        checks.refuse(
            self,
            checks.check_prompts(prompt, prompt_embeds, negative_prompt, negative_prompt_embeds),
            alone,
            checks.check_pictures(image=image),
            checks.check_callbacks(None, (), (), None, callback_steps),
            sigmas,
            *more_findings,
        )

    def _check_small(self, small: paddle.Tensor) -> list[str]:
        """Latents [B, C, h, w] fit the UNet, which halves their double, and whose inputs they are half of."""
        levels = 2 ** (len(self.unet.config.block_out_channels) - 1)
        sides, pixels = max(1, levels // 2), max(1, levels // 2) * self.vae_scale_factor
        problems = checks.check_channels(small, self.unet.config.in_channels - self.vae.config.latent_channels)
        if any(side % sides or side < 2 * sides for side in small.shape[2:]):
            problems.append(
                f"`image` must have sides that are multiples of {pixels} pixels, or of {sides} as latents, and at "
                f"least two times as long; its latents are {small.shape[2]} high and {small.shape[3]} wide"
            )
        return problems
