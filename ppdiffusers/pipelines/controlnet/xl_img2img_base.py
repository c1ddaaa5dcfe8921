"""The call of Stable Diffusion XL with ControlNets from image and prompt to image (SDEdit, arXiv 2108.01073)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.controlnet.base import ControlNetMixin
from ppdiffusers.pipelines.controlnet.control import Control
from ppdiffusers.pipelines.controlnet.xl_base import xl_tensors
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion_xl.img2img_base import StableDiffusionXLImg2ImgBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import GuidedPrediction, StepCallbacks
from ppdiffusers.pipelines.stages.latents import initial_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import SizeConditions
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.controlnets.controlnet import ControlNetModel
    from ppdiffusers.models.controlnets.multicontrolnet import MultiControlNetModel
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import (
        CLIPImageProcessor,
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        CLIPVisionModelWithProjection,
    )


class XLControlNetImg2ImgBase(ControlNetMixin, StableDiffusionXLImg2ImgBase, IPAdapterMixin):
    """Components of `StableDiffusionXLImg2ImgBase` and ControlNets, as in `XLControlNetBase`."""

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        controlnet: ControlNetModel | Sequence[ControlNetModel] | MultiControlNetModel,
        scheduler: Scheduler,
        requires_aesthetics_score: bool = False,
        force_zeros_for_empty_prompt: bool = True,
        add_watermarker: bool | None = None,
        feature_extractor: CLIPImageProcessor | None = None,
        image_encoder: CLIPVisionModelWithProjection | None = None,
    ):
        super().__init__(
            vae,
            text_encoder,
            text_encoder_2,
            tokenizer,
            tokenizer_2,
            unet,
            scheduler,
            image_encoder,
            feature_extractor,
            requires_aesthetics_score=requires_aesthetics_score,
            force_zeros_for_empty_prompt=force_zeros_for_empty_prompt,
            add_watermarker=add_watermarker,
        )
        self._register_controlnet(controlnet)

    def _generate(
        self,
        control: Control,
        prompts: dict[str, Any],
        sizes: SizeConditions,
        callbacks: StepCallbacks,
        problems: list[str],
        *,
        image: PipelineImageInput,
        height: int | None,
        width: int | None,
        strength: float,
        num_inference_steps: int,
        guidance_scale: float,
        num_images_per_prompt: int | None,
        eta: float,
        generator: Generator,
        latents: paddle.Tensor | np.ndarray | None,
        ip_adapter_image: PipelineImageInput | None,
        ip_adapter_image_embeds: list[paddle.Tensor] | None,
        output_type: str | None,
        return_dict: bool,
        cross_attention_kwargs: dict[str, Any] | None,
        clip_skip: int | None,
        prompt_syntax: PromptSyntax,
        long_prompts: LongPrompts | None,
    ) -> StableDiffusionXLPipelineOutput | tuple:
        """Check the arguments of a call, and generate images; see `XLControlNetBase._generate`."""
        channels = self.unet.config.in_channels
        num_prompts = checks.num_prompts(prompts["prompt"], prompts["prompt_embeds"])
        height, width, size_problems = control.size(num_prompts, height, width, self.vae_scale_factor, image, self.vae)
        checks.raise_problems(
            self,
            problems,
            size_problems,
            checks.check_images(image=image),
            control.check_networks(self.unet, channels, self.vae_scale_factor),
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
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            self._check_sizes(sizes, prompts["pooled_prompt_embeds"]),
        )
        batch_size = num_prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._begin_at(None, None)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. prompts, sizes and remaining timesteps
        conditioning = self._conditioning(
            **prompts,
            num_images_per_prompt=num_images_per_prompt,
            clip_skip=clip_skip,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        dtype = conditioning.prompt_embeds.dtype
        ids = sizes.of_image_to_image(height, width)
        timesteps, num_inference_steps = self._timesteps_to_run(num_inference_steps, strength)

        # 2. control images; latents of the image, noised to the first of these timesteps
        images = control.prepare(
            self.prepare_control_image,
            width=width,
            height=height,
            batch_size=batch_size,
            num_images_per_prompt=num_images_per_prompt,
            device=self.device,
            do_classifier_free_guidance=self.do_classifier_free_guidance,
        )  # [2B or B, C, H, W], or a list
        if latents is None:
            latents = self.prepare_latents(
                self._preprocess(image, height, width),  # [N, 3, H, W]
                timesteps[:1].repeat(batch_size),
                num_prompts,
                num_images_per_prompt,
                dtype,
                self.device,
                generator,
            )  # [B, C, h, w]
        else:
            latents = initial_latents(latents.shape, 1.0, dtype, latents=latents)

        # 3. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoders", conditioning.prompt_embeds)
        loop.finite.note("the VAE's encoder", latents)
        tensors = loop.run(
            GuidedPrediction(
                self._denoiser(latents, image_conditions), self._guide, control.guide(self.scheduler, len(timesteps))
            ),
            {
                "latents": latents,
                **xl_tensors(self, conditioning, ids, batch_size, "add_neg_time_ids"),
                control.name: images,
            },
            self.prepare_extra_step_kwargs(generator, eta),
        )

        # 4. decode
        return self._output(self._images(tensors["latents"], output_type, loop.finite), return_dict)
