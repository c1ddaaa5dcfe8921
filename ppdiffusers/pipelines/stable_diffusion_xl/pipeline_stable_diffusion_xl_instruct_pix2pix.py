"""Editing of images by instructions with Stable Diffusion XL. Brooks et al., "InstructPix2Pix", arXiv 2211.09800."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import PipelineImageInput
from ppdiffusers.pipelines.stable_diffusion_xl.base import StableDiffusionXLBase
from ppdiffusers.pipelines.stable_diffusion_xl.pipeline_output import StableDiffusionXLPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.guidance import image_text_guidance, rescale_noise_cfg
from ppdiffusers.pipelines.stages.img2img import check_edit_channels, edited_image_latents
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.size_conditions import Size, SizeConditions
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps, timesteps_until
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer


class StableDiffusionXLInstructPix2PixPipeline(StableDiffusionXLBase):
    """Edit images by instructions; the components are those of `StableDiffusionXLBase`, with a UNet of 8 channels.

    Args:
        is_cosxl_edit: whether the latents of the image are scaled, as the UNet of CosXL Edit was trained.
    """

    _optional_components = ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2")
    _image_guidance_scale = 1.0

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        force_zeros_for_empty_prompt: bool = True,
        add_watermarker: bool | None = None,
        is_cosxl_edit: bool | None = False,
    ):
        super(StableDiffusionXLBase, self).__init__()
        self._register_xl(
            {"force_zeros_for_empty_prompt": force_zeros_for_empty_prompt, "is_cosxl_edit": is_cosxl_edit},
            add_watermarker,
            vae=vae,
            text_encoder=text_encoder,
            text_encoder_2=text_encoder_2,
            tokenizer=tokenizer,
            tokenizer_2=tokenizer_2,
            unet=unet,
            scheduler=scheduler,
        )
        self.is_cosxl_edit = is_cosxl_edit

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        prompt_2: str | list[str] | None = None,
        image: PipelineImageInput | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 100,
        denoising_end: float | None = None,
        guidance_scale: float = 5.0,
        image_guidance_scale: float = 1.5,
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
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guidance_rescale: float = 0.0,
        original_size: Size | None = None,
        crops_coords_top_left: Size = (0, 0),
        target_size: Size | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionXLPipelineOutput | tuple:
        """Edit images according to prompts.

        Arguments that are not listed are those of `StableDiffusionXLPipeline`.

        Args:
            prompt: an instruction, such as "make it winter".
            image: images to edit, resized to `height` and `width`; or their latents [N, C, h, w]. The number of
                generated images is a multiple of N.
            height, width: in pixels, multiples of 8; by default the UNet's `sample_size`, not the size of the image.
            guidance_scale: s_T of the paper: larger follows the instruction more closely.
            image_guidance_scale: s_I, at least 1: larger preserves the image more. There is no guidance by either if
                this is below 1 or `guidance_scale` is 1 or less.

        Raises:
            InputError: invalid arguments; all of them are listed.
            ConfigError: the UNet accepts another number of channels than those of the latents and the image.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        height, width = self._size_of_each(height, width)
        channels = self.vae.config.latent_channels
        num_prompts = checks.num_prompts(prompt, prompt_embeds)
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
        sizes = SizeConditions(original_size, crops_coords_top_left, target_size)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                callback_steps,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            self._check_pooled_prompts(**prompts),
            checks.check_images(image=image),
            checks.check_size(height=height, width=width),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                guidance_scale=guidance_scale,
                image_guidance_scale=image_guidance_scale,
                guidance_rescale=guidance_rescale,
                eta=eta,
            ),
            checks.check_callbacks(callback=callback),
            checks.check_noise(
                latents=latents,
                generator=generator,
                prompts=num_prompts,
                num_images_per_prompt=num_images_per_prompt,
                channels=channels,
                height=height,
                width=width,
                scale_factor=self.vae_scale_factor,
            ),
            checks.check_denoising_range(denoising_end=denoising_end),
            self._check_sizes(sizes, pooled_prompt_embeds),
        )
        batch_size = num_prompts * num_images_per_prompt
        generator = as_generator(generator)
        self._denoising_end, self._image_guidance_scale = denoising_end, image_guidance_scale
        self._begin(
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            cross_attention_kwargs=cross_attention_kwargs,
        )

        # 1. encode the prompts and sizes; predictions are with prompt and image, with the image only, with neither
        conditioning = self._conditioning(
            **prompts,
            num_images_per_prompt=num_images_per_prompt,
            prompt_syntax=prompt_syntax,
            long_prompts=long_prompts,
        )
        prompt_embeds, add_text_embeds = conditioning.prompt_embeds, conditioning.pooled_prompt_embeds
        copies = 1
        if self.do_classifier_free_guidance:
            negative, negative_pooled = conditioning.negative_prompt_embeds, conditioning.negative_pooled_prompt_embeds
            prompt_embeds = paddle.concat([prompt_embeds, negative, negative])  # [3B, L, D]
            add_text_embeds = paddle.concat([add_text_embeds, negative_pooled, negative_pooled])  # [3B, P]
            copies = 3
        ids, _ = sizes.of_text_to_image(height, width)
        add_time_ids = paddle.to_tensor([ids] * (copies * batch_size), dtype="float32").astype(prompt_embeds.dtype)

        # 2. timesteps, latents of the image, initial noise
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        timesteps, num_inference_steps = timesteps_until(self.scheduler, timesteps, num_inference_steps, denoising_end)
        self._num_timesteps = len(timesteps)
        loop = DenoisingLoop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.finite.note("the text encoders", prompt_embeds)
        image_latents = self.prepare_image_latents(
            self._preprocess(image, height, width),  # [N, 3, H, W]
            num_prompts,
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            self.do_classifier_free_guidance,
        )  # [3B or B, C, h, w]
        loop.finite.note("the VAE's encoder", image_latents)
        check_edit_channels(self.unet, channels + image_latents.shape[1])
        latents = self.prepare_latents(
            batch_size, channels, height, width, prompt_embeds.dtype, self.device, generator, latents
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        denoiser = UNetDenoiser(
            self.unet,
            self.scheduler,
            extra_channels=(image_latents,),
            cross_attention_kwargs=cross_attention_kwargs,
            added_cond_kwargs={"text_embeds": add_text_embeds, "time_ids": add_time_ids},
        )
        for i, t in loop.steps():
            noise_pred = self._guide_edit(denoiser(latents, t, prompt_embeds))  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        # 4. decode
        return self._output(self._images(latents, output_type, loop.finite), return_dict)

    def check_inputs(
        self,
        prompt: Any,
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
            checks.check_callbacks(
                callback_steps=callback_steps,
                tensor_inputs=callback_on_step_end_tensor_inputs,
                allowed=self._callback_tensor_inputs,
            ),
        )

    @device_is_optional
    def prepare_image_latents(
        self,
        image: paddle.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        device: Any,
        do_classifier_free_guidance: bool,
        generator: Generator = None,
    ) -> paddle.Tensor:
        """Latents of the image for the UNet: [B, C, h, w]; with guidance [3B, C, h, w], the last third zero.

        `device` and `generator` have no effect.

        Args:
            image: images [N, 3, H, W] in [-1, 1], or unscaled latents [N, C, h, w].
        """
        batch_size = batch_size * num_images_per_prompt
        with self._vae_in_float32(paddle.float16):
            latents = edited_image_latents(self.vae, image, batch_size, dtype, guided=do_classifier_free_guidance)
        return latents * self.vae.config.scaling_factor if self.is_cosxl_edit else latents

    def _guide_edit(self, noise_pred: paddle.Tensor) -> paddle.Tensor:
        """Combine predictions [3B, C, h, w] to [B, C, h, w]; without guidance they stay as they are."""
        if not self.do_classifier_free_guidance:
            return noise_pred
        guided = image_text_guidance(noise_pred, self.guidance_scale, self.image_guidance_scale)
        if self.guidance_rescale <= 0:
            return guided
        return rescale_noise_cfg(guided, noise_pred.chunk(3)[0], self.guidance_rescale)

    @property
    def image_guidance_scale(self) -> float:
        return self._image_guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        return self.guidance_scale > 1.0 and self.image_guidance_scale >= 1.0
