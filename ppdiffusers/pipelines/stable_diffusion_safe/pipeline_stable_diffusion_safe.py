"""Text to picture, away from a concept. Schramowski et al., "Safe Latent Diffusion", arXiv 2211.05105."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stable_diffusion_safe.pipeline_output import StableDiffusionSafePipelineOutput
from ppdiffusers.pipelines.steps import checks
from ppdiffusers.pipelines.steps.images import decode_latents
from ppdiffusers.pipelines.steps.prompts import encode_texts
from ppdiffusers.pipelines.steps.run import Loop, inference, retrieve_timesteps
from ppdiffusers.pipelines.steps.text_guided import TextGuidedMixin
from ppdiffusers.utils.torch_utils import as_generator

SAFETY_CONCEPT = (
    "an image showing hate, harassment, violence, suffering, humiliation, harm, suicide, sexual, nudity, bodily "
    "fluids, blood, obscene gestures, illegal activity, drug use, theft, vandalism, weapons, child abuse, brutality, "
    "cruelty"
)


class StableDiffusionPipelineSafe(TextGuidedMixin, DiffusionPipeline, StableDiffusionMixin):
    """Pictures from prompts, steered away from `safety_concept`; the components are those of `TextGuidedMixin`.

    Attributes:
        safety_concept: the text of what is not to be seen; it may be set.
    """

    safety_concept = SAFETY_CONCEPT

    @inference
    def __call__(
        self,
        prompt: str | list[str],
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Any = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        ip_adapter_image: PipelineImageInput | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callable[[int, Any, paddle.Tensor], None] | None = None,
        callback_steps: int = 1,
        sld_guidance_scale: float | None = 1000,
        sld_warmup_steps: int | None = 10,
        sld_threshold: float | None = 0.01,
        sld_momentum_scale: float | None = 0.3,
        sld_mom_beta: float | None = 0.4,
    ) -> StableDiffusionSafePipelineOutput | tuple:
        """Paint pictures of the prompts. `SafetyConfig` has four sets of the last five arguments.

        Args:
            prompt, height, width, num_inference_steps, guidance_scale, negative_prompt, num_images_per_prompt, eta,
                generator, latents, output_type, callback, callback_steps: as for `StableDiffusionPipeline`.
            ip_adapter_image: must be None: this pipeline holds no image prompt adapter.
            return_dict: False gives `(images, nsfw_content_detected, applied_safety_concept, unsafe_images)`.
            sld_guidance_scale: s_S of the paper; 1 or less is without safety guidance, and so is a
                `guidance_scale` of 1 or less.
            sld_warmup_steps: delta; the first steps are not guided, so that the composition stays.
            sld_threshold: lambda; only where text and concept are closer than this, the picture is changed.
            sld_momentum_scale: s_m, how strongly the momentum acts.
            sld_mom_beta: beta_m, how much of the momentum lives on in each step; it builds up during the warm-up too.

        Raises:
            InputError: arguments that do not fit; all of them are listed.
        """
        height, width = self._size(height, width, latents)
        channels = self.unet.config.in_channels
        checks.refuse(
            self,
            checks.check_prompts(prompt, None, negative_prompt, None),
            checks.check_size(height, width),
            checks.check_sampling(
                self.scheduler,
                num_inference_steps,
                num_images_per_prompt,
                output_type,
                guidance_scale=guidance_scale,
                eta=eta,
                sld_guidance_scale=sld_guidance_scale,
                sld_warmup_steps=sld_warmup_steps,
                sld_threshold=sld_threshold,
                sld_momentum_scale=sld_momentum_scale,
                sld_mom_beta=sld_mom_beta,
            ),
            checks.check_no_ip_adapter(ip_adapter_image, None),
            checks.check_callbacks(None, None, (), callback, callback_steps),
            checks.check_noise(
                latents,
                generator,
                checks.batch_of(prompt, None),
                num_images_per_prompt,
                channels,
                (height, width),
                self.vae_scale_factor,
            ),
        )
        batch_size = checks.batch_of(prompt, None) * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale)
        safe = sld_guidance_scale > 1 and self.do_classifier_free_guidance

        # 1. what to keep away from, the prompt, and the concept
        prompt_embeds, negative_prompt_embeds = self.encode_prompt(
            prompt, self.device, num_images_per_prompt, self.do_classifier_free_guidance, negative_prompt
        )  # [B, L, D] each
        parts = [prompt_embeds]
        if self.do_classifier_free_guidance:
            parts = [negative_prompt_embeds, prompt_embeds]
        if safe:
            parts.append(self._concept(prompt_embeds))
        embeds = paddle.concat(parts)  # [3B, 2B or B, L, D]

        # 2. the steps, and the noise to start from
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        self._num_timesteps = len(timesteps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        momentum = paddle.zeros_like(latents)  # nu
        loop = Loop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        for i, t in loop.steps():
            model_input = self.scheduler.scale_model_input(paddle.concat([latents] * len(parts)), t)
            noise_pred = self.unet(model_input, t, encoder_hidden_states=embeds, return_dict=False)[0]
            if self.do_classifier_free_guidance:
                predictions = noise_pred.chunk(len(parts))
                guidance = predictions[1] - predictions[0]
                if safe:
                    uncond, text, concept = predictions
                    mu = safety_scale(text - concept, sld_guidance_scale, sld_threshold)
                    away = mu * (concept - uncond) + sld_momentum_scale * momentum  # gamma, eq. 7
                    momentum = sld_mom_beta * momentum + (1 - sld_mom_beta) * away  # eq. 8
                    if i >= sld_warmup_steps:
                        guidance = guidance - away  # eq. 3
                noise_pred = predictions[0] + guidance_scale * guidance
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode, judge
        image, has_nsfw_concept, unsafe = self._judged(latents, output_type, embeds.dtype, loop.watch)
        concept = self.safety_concept if safe else None
        if not return_dict:
            return image, has_nsfw_concept, concept, unsafe
        return StableDiffusionSafePipelineOutput(image, has_nsfw_concept, unsafe, concept)

    def _concept(self, prompt_embeds: paddle.Tensor) -> paddle.Tensor:
        """The concept's embedding for each picture, [B, L, D]; it is repeated where long prompts made L longer."""
        batch, length, _ = prompt_embeds.shape
        limit = min(length, self.tokenizer.model_max_length)
        encoded = encode_texts(self.tokenizer, self.text_encoder, [self.safety_concept], max_length=limit)
        return encoded.astype(prompt_embeds.dtype).tile([batch, length // limit, 1])

    def _judged(self, latents: paddle.Tensor, output_type: str, dtype: Any, watch: Any) -> tuple[Any, Any, Any]:
        """(pictures, flags, flagged pictures as they were) of latents [B, C, h, w]."""
        if output_type == "latent":
            watch.warn()
            return latents, None, None
        image = decode_latents(self.vae, latents, watch)  # [B, 3, H, W]
        watch.warn()
        if self.safety_checker is None:
            return self.image_processor.postprocess(image, output_type), None, None
        image, flags = self.run_safety_checker(image, self.device, dtype)
        shown = (image / 2 + 0.5).clip(0, 1)  # in [0, 1], where black is zero
        flagged = paddle.to_tensor(flags).astype(shown.dtype).reshape([-1, 1, 1, 1])  # [B, 1, 1, 1]
        as_it_is = [False] * len(flags)
        seen, unsafe = (
            self.image_processor.postprocess(part, output_type, as_it_is)
            for part in (shown * (1 - flagged), shown * flagged)
        )
        return seen, flags, unsafe


def safety_scale(difference: paddle.Tensor, scale: float, threshold: float) -> paddle.Tensor:
    """mu, equations 5 and 6: `scale` times the distance of text and concept, at most 1; 0 where they are far apart.

    Args:
        difference: the text-conditional prediction minus the concept's, [B, C, h, w].
    """
    phi = (difference.abs() * scale).clip(max=1.0)
    return paddle.where(difference >= threshold, paddle.zeros_like(phi), phi)
