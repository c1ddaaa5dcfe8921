"""What Stable Diffusion XL pipelines with ControlNets share, and the call from a prompt to an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.controlnet.base import ControlNetMixin
from ppdiffusers.pipelines.controlnet.control import Control
from ppdiffusers.pipelines.loaders.ip_adapter import IPAdapterMixin
from ppdiffusers.pipelines.stable_diffusion_xl.base import StableDiffusionXLBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import GuidedPrediction, StepCallbacks, Tensors
from ppdiffusers.pipelines.stages.prompt_encoders import Conditioning, LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import Ids, SizeConditions
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps, timesteps_until
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


def xl_tensors(
    pipeline: StableDiffusionXLBase, conditioning: Conditioning, ids: tuple[Ids, Ids], batch_size: int, negative: str
) -> Tensors:
    """What the UNet and the ControlNets are conditioned on, by the names that callbacks know.

    Args:
        ids: numbers for the sizes, and those of the unconditional prediction.
        negative: name of the latter among the tensors; only callbacks read them.
    """
    dtype = conditioning.prompt_embeds.dtype
    return {
        "prompt_embeds": conditioning.guided(),  # [2B or B, L, D]
        "negative_prompt_embeds": conditioning.negative_prompt_embeds,  # [B, L, D]
        "add_text_embeds": conditioning.guided_pooled(),  # [2B or B, P]
        "negative_pooled_prompt_embeds": conditioning.negative_pooled_prompt_embeds,  # [B, P]
        "add_time_ids": pipeline._time_ids(ids, batch_size, dtype),  # [2B or B, n]
        negative: paddle.to_tensor([ids[1]] * batch_size, dtype="float32").astype(dtype),  # [B, n]
    }


class XLControlNetBase(ControlNetMixin, StableDiffusionXLBase, IPAdapterMixin):
    """Components of `StableDiffusionXLBase` and ControlNets.

    Args:
        controlnet: a ControlNet for the UNet, or a list; the residuals of several ControlNets are added.
    """

    prepare_image = ControlNetMixin.prepare_control_image

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
        height: int | None,
        width: int | None,
        num_inference_steps: int,
        timesteps: Sequence[int] | np.ndarray | None,
        sigmas: Sequence[float] | None,
        denoising_end: float | None,
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
        """Check the arguments of a call, and generate images.

        Args:
            prompts: the prompts of both text encoders and their embeddings.
            problems: those that `check_inputs` found.
        """
        channels = self.unet.config.in_channels
        num_prompts = checks.num_prompts(prompts["prompt"], prompts["prompt_embeds"])
        height, width, size_problems = control.size(num_prompts, height, width, self.vae_scale_factor)
        checks.raise_problems(
            self,
            problems,
            size_problems,
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
                timesteps=timesteps,
                sigmas=sigmas,
                guidance_scale=guidance_scale,
                eta=eta,
            ),
            checks.check_denoising_range(denoising_end=denoising_end),
            self._check_sizes(sizes, prompts["pooled_prompt_embeds"]),
        )
        batch_size = num_prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._denoising_end = denoising_end
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. prompts, control images and sizes
        conditioning = self._conditioning(
            **prompts,
            num_images_per_prompt=num_images_per_prompt,
            clip_skip=clip_skip,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        dtype = conditioning.prompt_embeds.dtype
        images = control.prepare(
            self.prepare_image,
            width=width,
            height=height,
            batch_size=batch_size,
            num_images_per_prompt=num_images_per_prompt,
            device=self.device,
            do_classifier_free_guidance=self.do_classifier_free_guidance,
        )  # [2B or B, C, H, W], or a list
        ids = sizes.of_text_to_image(height, width)

        # 2. timesteps and initial noise; the intervals of ControlNets are fractions of all steps
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        self._num_timesteps = len(timesteps)
        timesteps, num_inference_steps = timesteps_until(self.scheduler, timesteps, num_inference_steps, denoising_end)
        latents = self.prepare_latents(
            batch_size, channels, height, width, dtype, self.device, generator, latents
        )  # [B, C, h, w]

        # 3. denoise
        image_conditions = self._image_conditions(ip_adapter_image, ip_adapter_image_embeds, batch_size)
        loop = callbacks.loop(self, timesteps, num_inference_steps)
        loop.finite.note("the text encoders", conditioning.prompt_embeds)
        tensors = loop.run(
            GuidedPrediction(
                self._denoiser(latents, image_conditions),
                self._guide,
                control.guide(self.scheduler, self.num_timesteps),
            ),
            {
                "latents": latents,
                **xl_tensors(self, conditioning, ids, batch_size, "negative_add_time_ids"),
                control.name: images,
            },
            self.prepare_extra_step_kwargs(generator, eta),
        )

        # 4. decode
        return self._output(self._images(tensors["latents"], output_type, loop.finite), return_dict)
