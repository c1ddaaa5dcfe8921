"""Text to image with T2I-Adapters. Mou et al., arXiv 2302.08453: control images become residuals for the UNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.models.t2i_adapters.multi_adapter import MultiAdapter
from ppdiffusers.models.t2i_adapters.t2i_adapter import T2IAdapter
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stable_diffusion.base import StableDiffusionBase
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, GuidedPrediction, StepCallbacks, inference
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps
from ppdiffusers.pipelines.t2i_adapter import checks as adapter_checks
from ppdiffusers.pipelines.t2i_adapter.control_images import AddResiduals, combined, default_size, residuals_of
from ppdiffusers.pipelines.t2i_adapter.pipeline_output import StableDiffusionAdapterPipelineOutput
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer


class StableDiffusionAdapterPipeline(StableDiffusionBase):
    """Generate images from prompts and control images; other components are those of `StableDiffusionBase`.

    Args:
        adapter: a T2I-Adapter for the UNet, or a list; the residuals of several adapters are added.
    """

    _corrected_settings: tuple[str, ...] = ()  # diffusers corrects none here
    _optional_components: tuple[str, ...] = ("safety_checker", "feature_extractor")
    adapter: T2IAdapter | MultiAdapter

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
        adapter: T2IAdapter | MultiAdapter | Sequence[T2IAdapter],
        scheduler: Scheduler,
        safety_checker: StableDiffusionSafetyChecker | None,
        feature_extractor: CLIPImageProcessor | None,
        requires_safety_checker: bool = True,
    ):
        DiffusionPipeline.__init__(self)
        self._register(
            requires_safety_checker,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            adapter=combined(adapter),
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
        )

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: PipelineImageInput | list[PipelineImageInput] | None = None,
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
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        adapter_conditioning_scale: float | list[float] = 1.0,
        clip_skip: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionAdapterPipelineOutput | tuple:
        """Generate images from prompts and control images.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            image: control images, such as edges or colors: one, or one for each prompt. PIL images are resized; tensors
                [N, C, height, width] are not. Several adapters require a list with an entry for each of them.
            height, width: in pixels, multiples of 8 and of the adapter's `downscale_factor`; by default those of the
                control image, rounded down.
            adapter_conditioning_scale: factor of the residuals, for all adapters or for each.

        Raises:
            InputError: invalid arguments, or an adapter for another UNet; everything is listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "adapter", "scheduler"))
        callbacks = StepCallbacks(None, (), callback, callback_steps)
        channels = self.unet.config.in_channels
        prompts = checks.num_prompts(prompt, prompt_embeds)
        if not adapter_checks.check_control_images(self.adapter, image, prompts=prompts):
            height, width = default_size(self.adapter, image, height, width)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                height,
                width,
                callback_steps,
                image,
                negative_prompt,
                prompt_embeds,
                negative_prompt_embeds,
            ),
            adapter_checks.check_adapter(self.adapter, self.unet, self.vae_scale_factor),
            adapter_checks.check_scale(self.adapter, adapter_conditioning_scale),
            self._check_sampling(
                callbacks,
                latents=latents,
                generator=generator,
                prompts=prompts,
                channels=channels,
                height=height,
                width=width,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
        )
        batch_size = prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. prompts and control images
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
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]
        residuals = residuals_of(
            self.adapter,
            image,
            adapter_conditioning_scale,
            height=height,
            width=width,
            batch_size=batch_size,
            do_classifier_free_guidance=self.do_classifier_free_guidance,
        )  # [2B or B, C, h, w] each

        # 2. timesteps and initial noise
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        self._num_timesteps = len(timesteps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]

        # 3. denoise
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoder", prompt_embeds)
        tensors = loop.run(
            GuidedPrediction(self._denoiser(latents), self._guide, AddResiduals(residuals)),
            {"latents": latents, "prompt_embeds": prompt_embeds},
            self.prepare_extra_step_kwargs(generator, eta),
        )

        # 4. decode and run the safety checker
        images, has_nsfw_concept = self._images(
            tensors["latents"], output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(images, has_nsfw_concept, return_dict)

    def check_inputs(
        self,
        prompt: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        image: Any,
        negative_prompt: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
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
            ),
            adapter_checks.check_size(self.adapter, height, width),
            adapter_checks.check_control_images(
                self.adapter,
                image,
                prompts=checks.num_prompts(prompt, prompt_embeds),
                height=height,
                width=width,
            ),
        )
