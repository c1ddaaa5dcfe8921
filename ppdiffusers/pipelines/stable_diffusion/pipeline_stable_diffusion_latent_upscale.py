"""Upscaling of latents or images by 2, guided by a prompt: the upscaler `sd-x2-latent-upscaler`.

A UNet of k-diffusion with the preconditioning of Karras et al., "Elucidating the Design Space of Diffusion-Based
Generative Models" (arXiv 2206.00364). It reads the low-resolution latents, resized and concatenated to the noisy ones,
the hidden states of the prompt by cross-attention, and the pooled prompt added to the time embedding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.models.blocks.resampling import repeat_pixels
from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stable_diffusion.base import LatentDiffusionBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, inference
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.guidance import classifier_free_guidance
from ppdiffusers.pipelines.stages.latents import decode_latents, image_latents, initial_latents, preprocess_images
from ppdiffusers.pipelines.stages.prompt_encoders import PromptEncoder
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
    from ppdiffusers.transformers import CLIPTextModel, CLIPTokenizer

# Fourier features (cosines, then sines) of the noise level of the low-resolution latents: they are used without noise
ZERO_NOISE_FEATURES = (1.0,) * 64 + (0.0,) * 64


class StableDiffusionLatentUpscalePipeline(LatentDiffusionBase):
    """Upscale images, or the images of latents, by 2.

    Args:
        vae: that of Stable Diffusion, whose latents are upscaled.
        text_encoder, tokenizer: a CLIP text model and its tokenizer.
        unet: with the blocks of k-diffusion; its last output channel is not used.
        scheduler: with `prediction_type="sample"`; any scheduler with `sigmas`.
    """

    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer

    scheduler: EulerDiscreteScheduler

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: EulerDiscreteScheduler,
    ):
        super().__init__()
        self._register_with_vae(
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
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        pooled_prompt_embeds: paddle.Tensor | None = None,
        negative_pooled_prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
    ) -> ImagePipelineOutput | tuple:
        """Upscale images by 2.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            prompt: describes the images. Prompts of more than 77 tokens are truncated, because they are pooled too.
            image: images whose height and width are multiples of 32 and at least 64, or latents [N, C, h, w] that a
                pipeline returned with `output_type="latent"`; one for each prompt, or one for all prompts.
            guidance_scale: 1 or less is without guidance; 0 ignores the prompt.
            generator: draws the latents of the images, then the noise.
            latents: standard normal noise [B, C, 2 * h, 2 * w].
            prompt_embeds, negative_prompt_embeds: [B, L, D], together with `pooled_prompt_embeds` and
                `negative_pooled_prompt_embeds`, [B, D].
            return_dict: if False, return `(images,)`.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        batch_size = checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                image,
                callback_steps,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                pooled_prompt_embeds=pooled_prompt_embeds,
                negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
            ),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=1,
                output_type=output_type,
                guidance_scale=guidance_scale,
            ),
            self._check_scheduler(),
            checks.check_callbacks(callback=callback),
            checks.check_generator(generator, batch_size),
        )
        generator = as_generator(generator)
        do_classifier_free_guidance = guidance_scale > 1
        if guidance_scale == 0 and prompt_embeds is None:
            prompt = [""] * batch_size

        # 1. timesteps, prompts (the unconditional embeddings first)
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds, negative_pooled_prompt_embeds = self.encode_prompt(
            prompt,
            self.device,
            do_classifier_free_guidance,
            negative_prompt,
            prompt_embeds,
            negative_prompt_embeds,
            pooled_prompt_embeds,
            negative_pooled_prompt_embeds,
        )  # [B, L, D] twice, [B, D] twice
        if do_classifier_free_guidance:
            prompt_embeds = paddle.concat([negative_prompt_embeds, prompt_embeds])  # [2B, L, D]
            pooled_prompt_embeds = paddle.concat([negative_pooled_prompt_embeds, pooled_prompt_embeds])  # [2B, D]
        loop = DenoisingLoop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.finite.note("the text encoder", prompt_embeds)

        # 2. the low-resolution latents, and initial noise
        image = preprocess_images(self.image_processor, self.vae, image)  # [N, 3, H, W] or [N, C, h, w]
        low_res = image_latents(self.vae, image, batch_size, generator, loop.finite)  # [B, C, h, w]
        checks.raise_problems(self, self._check_low_res(low_res))
        condition = repeat_pixels(low_res.astype(prompt_embeds.dtype))  # [B, C, 2h, 2w]
        batch, channels, height, width = condition.shape
        latents = self.prepare_latents(
            batch, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, 0.0)

        # 3. denoise
        for i, t in loop.steps():
            sample = self._predict_sample(
                latents,
                t,
                sigma=float(self.scheduler.host_sigmas[i]),
                condition=condition,
                prompt_embeds=prompt_embeds,
                pooled_prompt_embeds=pooled_prompt_embeds,
            )  # [2B or B, C, 2h, 2w]
            if do_classifier_free_guidance:
                sample = classifier_free_guidance(sample, guidance_scale)
            latents = self.scheduler.step(sample, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode
        if output_type != "latent":
            latents = decode_latents(self.vae, latents, loop.finite)  # [B, 3, 2H, 2W]
        loop.finite.warn()
        images = self.image_processor.postprocess(latents, output_type)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _predict_sample(
        self,
        latents: paddle.Tensor,
        t: Any,
        *,
        sigma: float,
        condition: paddle.Tensor,
        prompt_embeds: paddle.Tensor,
        pooled_prompt_embeds: paddle.Tensor,
    ) -> paddle.Tensor:
        """Predict x_0 = c_skip x + c_out F(c_in x; c_noise), table 1 of the paper with sigma_data = 1.

        Args:
            latents: x, [B, C, h, w].
            condition: resized low-resolution latents, [B, C, h, w].
            prompt_embeds: [n * B, L, D].
            pooled_prompt_embeds: [n * B, D].

        Returns:
            [n * B, C, h, w]
        """
        copies = prompt_embeds.shape[0] // latents.shape[0]
        x, condition = paddle.concat([latents] * copies), paddle.concat([condition] * copies)  # [n * B, C, h, w]
        features = paddle.to_tensor(ZERO_NOISE_FEATURES, dtype=pooled_prompt_embeds.dtype)
        features = features.expand([x.shape[0], len(ZERO_NOISE_FEATURES)])
        output = self.unet(
            paddle.concat([self.scheduler.scale_model_input(x, t), condition], axis=1),  # [n * B, 2C, h, w]
            np.float32(0.25 * math.log(sigma)),
            encoder_hidden_states=prompt_embeds,
            timestep_cond=paddle.concat([features, pooled_prompt_embeds], axis=1),  # [n * B, 128 + D]
            return_dict=False,
        )[0][:, :-1]
        variance = sigma**2 + 1
        return x / variance + output * (sigma / math.sqrt(variance))

    @device_is_optional
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
        """Encode prompts: (prompt_embeds, negative_prompt_embeds), [B, L, D] each, and both pooled, [B, D] each.

        The hidden states are those of the last layer before the final norm. `device` has no effect: the result is on
        the device of the text encoder.
        """
        if prompt_embeds is None or pooled_prompt_embeds is None:
            prompts = [prompt] if isinstance(prompt, str) else prompt
            prompt_embeds, pooled_prompt_embeds = self._encode(prompts, warn=True)
        missing = negative_prompt_embeds is None or negative_pooled_prompt_embeds is None
        if do_classifier_free_guidance and missing:
            batch_size = prompt_embeds.shape[0]
            negatives = negative_prompt if isinstance(negative_prompt, list) else [negative_prompt or ""] * batch_size
            negative_prompt_embeds, negative_pooled_prompt_embeds = self._encode(negatives)
        return prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds, negative_pooled_prompt_embeds

    def _encode(self, prompts: list[str], warn: bool = False) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Hidden states of the last layer before the final norm [B, L, D], and the pooled output [B, D]."""
        encoder = PromptEncoder(self.tokenizer, self.text_encoder)
        encoder.require()
        output = encoder.run(*encoder.tokenize(prompts, warn=warn), output_hidden_states=True, return_dict=True)
        return output.hidden_states[-1], output.pooler_output

    @device_is_optional
    def prepare_latents(
        self,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator,
        latents: paddle.Tensor | np.ndarray | None = None,
    ) -> paddle.Tensor:
        """Initial latents [batch_size, num_channels_latents, height, width]."""
        shape = (batch_size, num_channels_latents, height, width)
        checks.raise_problems(self, checks.check_latents(latents, shape))
        return initial_latents(shape, self.scheduler.init_noise_sigma, dtype, generator, latents)

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
    ) -> None:
        """Raise one InputError that lists all invalid arguments."""
        pairs = {
            "prompt_embeds": (prompt_embeds, pooled_prompt_embeds),
            "negative_prompt_embeds": (negative_prompt_embeds, negative_pooled_prompt_embeds),
        }
        problems = [
            f"`{name}` and `{name.replace('prompt', 'pooled_prompt')}` are required together: one of them is missing"
            for name, (embeds, pooled) in pairs.items()
            if (embeds is None) != (pooled is None)
        ]
        checks.raise_problems(
            self,
            checks.check_prompts(
                prompt=prompt,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            problems,
            checks.check_images(image=image),
            checks.check_callbacks(callback_steps=callback_steps),
        )

    def _check_scheduler(self) -> list[str]:
        return [] if hasattr(self.scheduler, "sigmas") else [f"{type(self.scheduler).__name__} has no `sigmas`"]

    def _check_low_res(self, low_res: paddle.Tensor) -> list[str]:
        """Latents [B, C, h, w] have the channels and a size that the UNet accepts; it halves their doubled size."""
        levels = 2 ** (len(self.unet.config.block_out_channels) - 1)
        multiple = max(1, levels // 2)
        problems = checks.check_channels(low_res, self.unet.config.in_channels - self.vae.config.latent_channels)
        if any(size % multiple or size < 2 * multiple for size in low_res.shape[2:]):
            problems.append(
                f"`image` must have a height and width that are multiples of {multiple * self.vae_scale_factor} pixels "
                f"(latents: {multiple}) and at least twice that; its latents are {low_res.shape[2]} x "
                f"{low_res.shape[3]}"
            )
        return problems
