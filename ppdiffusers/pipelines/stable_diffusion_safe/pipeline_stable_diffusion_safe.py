"""Text to picture, away from a concept. Schramowski et al., "Safe Latent Diffusion", arXiv 2211.05105."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, StableDiffusionMixin
from ppdiffusers.pipelines.stable_diffusion_safe.pipeline_output import StableDiffusionSafePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.images import decode_latents
from ppdiffusers.pipelines.stages.prompts import encode_texts
from ppdiffusers.pipelines.stages.run import Loop, inference, retrieve_timesteps
from ppdiffusers.pipelines.stages.text_guided import TextGuidedMixin
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.utils.torch_utils import as_generator

logger = get_logger(__name__)

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
        prompt_syntax: str = "plain",
        long_prompts: str = "split",
    ) -> StableDiffusionSafePipelineOutput | tuple:
        """Paint pictures of the prompts. `SafetyConfig` has four sets of the five `sld_` arguments.

        Args:
            prompt, height, width, num_inference_steps, guidance_scale, negative_prompt, num_images_per_prompt, eta,
                generator, latents, output_type, callback, callback_steps, prompt_syntax, long_prompts: as for
                `StableDiffusionPipeline`.
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
        height, width = self._size_of_each(height, width, latents)
        channels = self.unet.config.in_channels
        self.check_inputs(
            prompt,
            height,
            width,
            callback_steps,
            negative_prompt,
            None,
            None,
            None,
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
            checks.check_callbacks(None, None, (), callback, None),
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
        if not safe:
            logger.warning("Safety guidance is off: it needs `guidance_scale` and `sld_guidance_scale` above 1.")

        # 1. what to keep away from, the prompt, and the concept
        embeds, _ = self._embed(
            prompt, num_images_per_prompt, negative_prompt, None, None, None, prompt_syntax, long_prompts
        )  # [2B or B, L, D]
        if safe:
            embeds = paddle.concat([embeds, self._concept(embeds[:batch_size])])  # [3B, L, D]
        parts = embeds.shape[0] // batch_size

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
        loop.watch.note("the text encoder", embeds)
        for i, t in loop.steps():
            model_input = self.scheduler.scale_model_input(paddle.concat([latents] * parts), t)
            noise_pred = self.unet(model_input, t, encoder_hidden_states=embeds, return_dict=False)[0]
            if self.do_classifier_free_guidance:
                predictions = noise_pred.chunk(parts)
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
        if output_type == "latent":
            image, has_nsfw_concept, unsafe = latents, None, None
        else:
            image = decode_latents(self.vae, latents, loop.watch)  # [B, 3, H, W]
            image, has_nsfw_concept, unsafe = self.run_safety_checker(image, self.device, embeds.dtype, safe)
        loop.watch.warn()
        image = self.image_processor.postprocess(image, output_type)
        unsafe = None if unsafe is None else self.image_processor.postprocess(unsafe, output_type)
        concept = self.safety_concept if safe else None
        if not return_dict:
            return image, has_nsfw_concept, concept, unsafe
        return StableDiffusionSafePipelineOutput(image, has_nsfw_concept, unsafe, concept)

    def check_inputs(
        self,
        prompt: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
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
            *more_findings,
        )

    def run_safety_checker(
        self, image: paddle.Tensor | np.ndarray, device: Any, dtype: Any, enable_safety_guidance: bool
    ) -> tuple[Any, list[bool] | None, Any]:
        """(pictures, flagged ones black; flags; flagged pictures as they were, the others black).

        Without a safety checker the last two are None. `device` and `enable_safety_guidance` have no effect.

        Args:
            image: [B, 3, H, W] in [-1, 1], or an array [B, H, W, 3] in [0, 1].
        """
        _, flags = super().run_safety_checker(image, device, dtype)
        if flags is None:
            return image, None, None
        flagged = np.reshape(flags, (-1, 1, 1, 1))
        if isinstance(image, np.ndarray):
            return np.where(flagged, 0, image), flags, np.where(flagged, image, 0)
        flagged, black = paddle.to_tensor(flagged), paddle.full_like(image, -1)
        return paddle.where(flagged, black, image), flags, paddle.where(flagged, image, black)

    def _concept(self, prompt_embeds: paddle.Tensor) -> paddle.Tensor:
        """The concept's embedding for each picture, [B, L, D]; it is repeated where long prompts made L longer."""
        batch, length, _ = prompt_embeds.shape
        limit = min(length, self.tokenizer.model_max_length)
        encoded = encode_texts(self.tokenizer, self.text_encoder, [self.safety_concept], max_length=limit)
        return encoded.astype(prompt_embeds.dtype).tile([batch, length // limit, 1])


def safety_scale(difference: paddle.Tensor, scale: float, threshold: float) -> paddle.Tensor:
    """mu, equations 5 and 6: `scale` times the distance of text and concept, at most 1; 0 where they are far apart.

    Args:
        difference: the text-conditional prediction minus the concept's, [B, C, h, w].
    """
    phi = (difference.abs() * scale).clip(max=1.0)
    return paddle.where(difference >= threshold, paddle.zeros_like(phi), phi)
