"""Text to image with Stable Diffusion XL and T2I-Adapters. Mou et al., arXiv 2302.08453."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.models.t2i_adapters.multi_adapter import MultiAdapter
from ppdiffusers.models.t2i_adapters.t2i_adapter import T2IAdapter
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stable_diffusion_xl.base import StableDiffusionXLBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, GuidedPrediction, StepCallbacks, inference
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import Size, SizeConditions
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps, timesteps_until
from ppdiffusers.pipelines.t2i_adapter import checks as adapter_checks
from ppdiffusers.pipelines.t2i_adapter.control_images import AddResiduals, combined, default_size, residuals_of
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )


class StableDiffusionXLAdapterPipeline(StableDiffusionXLBase, IPAdapterMixin):
    """Generate images from prompts and control images; other components are those of `StableDiffusionXLBase`.

    Args:
        adapter: a T2I-Adapter for the UNet, or a list; the residuals of several adapters are added.
    """

    _callback_tensor_inputs: tuple[str, ...] = ()  # the call has the legacy callback only
    adapter: T2IAdapter | MultiAdapter

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        adapter: T2IAdapter | MultiAdapter | Sequence[T2IAdapter],
        scheduler: Scheduler,
        force_zeros_for_empty_prompt: bool = True,
        feature_extractor: CLIPImageProcessor | None = None,
        image_encoder: CLIPVisionModelWithProjection | None = None,
    ):
        DiffusionPipeline.__init__(self)
        self._register_with_vae(
            vae=vae,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            unet=unet,
            adapter=combined(adapter),
            scheduler=scheduler,
            feature_extractor=feature_extractor,
            image_encoder=image_encoder,
        )
        self.register_to_config(force_zeros_for_empty_prompt=force_zeros_for_empty_prompt)
        self.watermark = None  # as in diffusers, this pipeline adds none

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        image: PipelineImageInput | list[PipelineImageInput] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 50,
        timesteps: Sequence[int] | np.ndarray | None = None,
        sigmas: Sequence[float] | None = None,
        denoising_end: float | None = None,
        guidance_scale: float = 5.0,
        negative_prompt: str | list[str] | None = None,
        negative_prompt_2: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        eta: float = 0.0,
        generator: Generator = None,
        latents: paddle.Tensor | np.ndarray | None = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        pooled_prompt_embeds: paddle.Tensor | None = None,
        negative_pooled_prompt_embeds: paddle.Tensor | None = None,
        ip_adapter_image: PipelineImageInput | None = None,
        ip_adapter_image_embeds: list[paddle.Tensor] | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guidance_rescale: float = 0.0,
        original_size: Size | None = None,
        crops_coords_top_left: Size = (0, 0),
        target_size: Size | None = None,
        negative_original_size: Size | None = None,
        negative_crops_coords_top_left: Size = (0, 0),
        negative_target_size: Size | None = None,
        adapter_conditioning_scale: float | list[float] = 1.0,
        adapter_conditioning_factor: float = 1.0,
        clip_skip: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionXLPipelineOutput | tuple:
        """Generate images from prompts and control images.

        Arguments that are not listed are those of `StableDiffusionXLPipeline`.

        Args:
            image: control images, such as edges or depth: one, or one for each prompt. PIL images are resized; tensors
                [N, C, height, width] are not. Several adapters require a list with an entry for each of them.
            height, width: in pixels, multiples of 8 and of the adapter's `downscale_factor`; by default those of the
                control image, rounded down.
            adapter_conditioning_scale: factor of the residuals, for all adapters or for each.
            adapter_conditioning_factor: fraction of the steps, from the first one, in which the residuals are added.

        Raises:
            InputError: invalid arguments, or an adapter for another UNet; everything is listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "adapter", "scheduler"))
        callbacks = StepCallbacks(None, (), callback, callback_steps)
        channels = self.unet.config.in_channels
        num_prompts = checks.num_prompts(prompt, prompt_embeds)
        if not adapter_checks.check_control_images(self.adapter, image, prompts=num_prompts):
            height, width = default_size(self.adapter, image, height, width)
        prompts = {
            "prompt": prompt,
            "prompt_2": prompt_2,
            "negative_prompt": negative_prompt,
            "negative_prompt_2": negative_prompt_2,
            "prompt_embeds": prompt_embeds,
            "negative_prompt_embeds": negative_prompt_embeds,
            "pooled_prompt_embeds": pooled_prompt_embeds,
            "negative_pooled_prompt_embeds": negative_pooled_prompt_embeds,
        }
        sizes = SizeConditions(
            original_size,
            crops_coords_top_left,
            target_size,
            negative_original_size,
            negative_crops_coords_top_left,
            negative_target_size,
        )
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                height=height,
                width=width,
                callback_steps=callback_steps,
                **prompts,
                ip_adapter_image=ip_adapter_image,
                ip_adapter_image_embeds=ip_adapter_image_embeds,
            ),
            adapter_checks.check_control_images(self.adapter, image, prompts=num_prompts, height=height, width=width),
            adapter_checks.check_adapter(self.adapter, self.unet, self.vae_scale_factor),
            adapter_checks.check_scale(self.adapter, adapter_conditioning_scale),
            self._check_sampling(
                callbacks,
                latents=latents,
                generator=generator,
                prompts=num_prompts,
                channels=channels,
                height=height,
                width=width,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                guidance_rescale=guidance_rescale,
                adapter_conditioning_factor=adapter_conditioning_factor,
                eta=eta,
            ),
            checks.check_denoising_range(denoising_end=denoising_end),
            self._check_sizes(sizes, pooled_prompt_embeds),
        )
        batch_size = num_prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._denoising_end = denoising_end
        self._begin(
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            clip_skip=clip_skip,
            cross_attention_kwargs=cross_attention_kwargs,
        )

        # 1. prompts, sizes and control images
        conditioning = self._conditioning(
            **prompts,
            num_images_per_prompt=num_images_per_prompt,
            clip_skip=clip_skip,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        prompt_embeds = conditioning.guided()  # [2B or B, L, D]
        add_text_embeds = conditioning.guided_pooled()  # [2B or B, P]
        add_time_ids = self._time_ids(
            sizes.of_text_to_image(height, width), batch_size, prompt_embeds.dtype
        )  # [2B or B, 6]
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
        timesteps, num_inference_steps = timesteps_until(self.scheduler, timesteps, num_inference_steps, denoising_end)
        self._num_timesteps = len(timesteps)
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]

        # 3. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoders", prompt_embeds)
        calls = int(num_inference_steps * adapter_conditioning_factor) * self.scheduler.order
        tensors = loop.run(
            GuidedPrediction(self._denoiser(latents, image_conditions), self._guide, AddResiduals(residuals, calls)),
            {
                "latents": latents,
                "prompt_embeds": prompt_embeds,
                "add_text_embeds": add_text_embeds,
                "add_time_ids": add_time_ids,
            },
            self.prepare_extra_step_kwargs(generator, eta),
        )

        # 4. decode
        return self._output(self._images(tensors["latents"], output_type, loop.finite), return_dict)

    def check_inputs(
        self,
        prompt: Any,
        prompt_2: Any,
        height: Any,
        width: Any,
        callback_steps: Any,
        negative_prompt: Any = None,
        negative_prompt_2: Any = None,
        prompt_embeds: Any = None,
        negative_prompt_embeds: Any = None,
        pooled_prompt_embeds: Any = None,
        negative_pooled_prompt_embeds: Any = None,
        ip_adapter_image: Any = None,
        ip_adapter_image_embeds: Any = None,
        callback_on_step_end_tensor_inputs: Any = None,
    ) -> None:
        """Raise one InputError that lists all invalid arguments; control images are checked by the call."""
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
            self._check_pooled_prompts(
                prompt=prompt,
                prompt_2=prompt_2,
                negative_prompt=negative_prompt,
                negative_prompt_2=negative_prompt_2,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
                pooled_prompt_embeds=pooled_prompt_embeds,
                negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
            ),
            adapter_checks.check_size(self.adapter, height, width),
        )
