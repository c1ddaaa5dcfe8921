"""Text to image with guidance away from a concept. Schramowski et al., "Safe Latent Diffusion", arXiv 2211.05105."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stable_diffusion_safe.pipeline_output import StableDiffusionSafePipelineOutput
from ppdiffusers.pipelines.stable_diffusion_safe.safety_guidance import SafetyGuidance
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.latents import decode_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptEncoder, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.utils.torch_utils import Generator, as_generator

logger = get_logger(__name__)

SAFETY_CONCEPT = (
    "an image showing hate, harassment, violence, suffering, humiliation, harm, suicide, sexual, nudity, bodily "
    "fluids, blood, obscene gestures, illegal activity, drug use, theft, vandalism, weapons, child abuse, brutality, "
    "cruelty"
)


class StableDiffusionPipelineSafe(StableDiffusionBase, IPAdapterMixin):
    """Generate images from prompts, guided away from `safety_concept`; the components are those of
    `StableDiffusionBase`.

    Attributes:
        safety_concept: a prompt for what images should not show; it can be set.
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
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        ip_adapter_image: PipelineImageInput | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
        sld_guidance_scale: float | None = 1000,
        sld_warmup_steps: int | None = 10,
        sld_threshold: float | None = 0.01,
        sld_momentum_scale: float | None = 0.3,
        sld_mom_beta: float | None = 0.4,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionSafePipelineOutput | tuple:
        """Generate images from prompts.

        Arguments that are not listed are those of `StableDiffusionPipeline`. `SafetyConfig` has four configurations of
        the five `sld_` arguments.

        Args:
            return_dict: if False, return `(images, nsfw_content_detected, applied_safety_concept, unsafe_images)`.
            sld_guidance_scale: s_S of the paper; there is no safety guidance if this or `guidance_scale` is 1 or less.
            sld_warmup_steps: delta; number of first steps without safety guidance, which preserve the composition.
            sld_threshold: lambda; safety guidance acts where prompt and concept are closer than this.
            sld_momentum_scale: s_m, how much the momentum adds to the guidance.
            sld_mom_beta: beta_m, the fraction of the momentum that is kept in each step.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "scheduler"))
        height, width = self._size_of_each(height, width, latents)
        channels = self.unet.config.in_channels
        prompts = checks.num_prompts(prompt)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs, prompt, height, width, callback_steps, negative_prompt=negative_prompt
            ),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                eta=eta,
                sld_guidance_scale=sld_guidance_scale,
                sld_warmup_steps=sld_warmup_steps,
                sld_threshold=sld_threshold,
                sld_momentum_scale=sld_momentum_scale,
                sld_mom_beta=sld_mom_beta,
            ),
            self._check_ip_adapter(ip_adapter_image),
            checks.check_callbacks(callback=callback),
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
        self._begin(guidance_scale=guidance_scale)
        safety_guidance = None
        if sld_guidance_scale > 1 and self.do_classifier_free_guidance:
            safety_guidance = SafetyGuidance(
                scale=sld_guidance_scale,
                warmup_steps=sld_warmup_steps,
                threshold=sld_threshold,
                momentum_scale=sld_momentum_scale,
                momentum_beta=sld_mom_beta,
            )
        else:
            logger.warning("Safety guidance is off: it requires `guidance_scale` and `sld_guidance_scale` above 1.")

        # 1. encode the prompts and the concept
        conditioning = self._conditioning(
            prompt=prompt,
            negative_prompt=negative_prompt,
            num_images_per_prompt=num_images_per_prompt,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]
        image_conditions = self._image_conditions(ip_adapter_image, None, batch_size)
        if safety_guidance is not None:
            concept_embeds = self._encode_concept(conditioning.prompt_embeds)
            prompt_embeds = paddle.concat([prompt_embeds, concept_embeds])  # [3B, L, D]
            if image_conditions is not None:  # the concept sees the image, too
                guided = image_conditions["image_embeds"]
                image_conditions = {"image_embeds": [paddle.concat([e, e.chunk(2)[1]]) for e in guided]}

        # 2. timesteps and initial noise
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        self._num_timesteps = len(timesteps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        denoiser = UNetDenoiser(self.unet, self.scheduler, added_cond_kwargs=image_conditions)
        loop = DenoisingLoop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.finite.note("the text encoder", prompt_embeds)
        for i, t in loop.steps():
            noise_pred = denoiser(latents, t, prompt_embeds)  # [3B, 2B or B, C, h, w]
            if safety_guidance is not None:
                noise_pred = safety_guidance(noise_pred, i, guidance_scale)  # [B, C, h, w]
            else:
                noise_pred = self._guide(noise_pred)
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode and run the safety checker
        if output_type == "latent":
            image, has_nsfw_concept, unsafe_images = latents, None, None
        else:
            image, has_nsfw_concept, unsafe_images = self.run_safety_checker(
                decode_latents(self.vae, latents, loop.finite),  # [B, 3, H, W]
                self.device,
                prompt_embeds.dtype,
                safety_guidance is not None,
            )
        loop.finite.warn()
        image = self.image_processor.postprocess(image, output_type)
        if unsafe_images is not None:
            unsafe_images = self.image_processor.postprocess(unsafe_images, output_type)
        concept = self.safety_concept if safety_guidance is not None else None
        if not return_dict:
            return image, has_nsfw_concept, concept, unsafe_images
        return StableDiffusionSafePipelineOutput(image, has_nsfw_concept, unsafe_images, concept)

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
            checks.check_size(height=height, width=width),
            checks.check_callbacks(
                callback_steps=callback_steps,
                tensor_inputs=callback_on_step_end_tensor_inputs,
                allowed=self._callback_tensor_inputs,
            ),
        )

    @device_is_optional
    def run_safety_checker(
        self, image: paddle.Tensor | np.ndarray, device: Any, dtype: paddle.dtype, enable_safety_guidance: bool
    ) -> tuple[paddle.Tensor | np.ndarray, list[bool] | None, paddle.Tensor | np.ndarray | None]:
        """Return (images, flagged ones black; flags; flagged images before they were blackened, the others black).

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

    def _encode_concept(self, prompt_embeds: paddle.Tensor) -> paddle.Tensor:
        """Embeddings of the safety concept for each image, [B, L, D], repeated for each chunk of long prompts."""
        batch_size, length, _ = prompt_embeds.shape
        encoder = PromptEncoder(self.tokenizer, self.text_encoder)
        limit = min(length, encoder.max_length)
        concept_embeds = encoder.encode([self.safety_concept], max_length=limit)  # [1, limit, D]
        return concept_embeds.astype(prompt_embeds.dtype).tile([batch_size, length // limit, 1])
