"""Inpainting with any text-to-image UNet, as in the first releases of Stable Diffusion.

After each step the latents outside of the mask are replaced by those of the image, noised to the timestep of the step
(Lugmayr et al., "RePaint", arXiv 2201.09865, equation 8, which noises them to the next timestep).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
import paddle.nn.functional as F
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import RESAMPLING
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stable_diffusion.img2img_base import Img2ImgBase
from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, UNetDenoiser, inference
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.latents import encode_image
from ppdiffusers.pipelines.stages.prompt_encoders import LongPrompts, PromptSyntax
from ppdiffusers.pipelines.stages.timesteps import first_timestep, last_timesteps, retrieve_timesteps
from ppdiffusers.utils.pil_modes import to_grayscale, to_rgb
from ppdiffusers.utils.torch_utils import Generator, as_generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from ppdiffusers.schedulers.common.types import Scheduler
    from ppdiffusers.transformers import CLIPImageProcessor, CLIPTextModel, CLIPTokenizer


class StableDiffusionInpaintPipelineLegacy(Img2ImgBase):
    """Inpaint images; the components are those of `StableDiffusionBase` without the image encoder."""

    _optional_components = ("safety_checker", "feature_extractor")

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        tokenizer: CLIPTokenizer,
        unet: UNet2DConditionModel,
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
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
        )

    @inference
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        image: paddle.Tensor | PIL.Image.Image | None = None,
        mask_image: paddle.Tensor | PIL.Image.Image | None = None,
        strength: float = 0.8,
        num_inference_steps: int | None = 50,
        guidance_scale: float | None = 7.5,
        negative_prompt: str | list[str] | None = None,
        num_images_per_prompt: int | None = 1,
        add_predicted_noise: bool | None = False,
        eta: float | None = 0.0,
        generator: Generator = None,
        prompt_embeds: paddle.Tensor | None = None,
        negative_prompt_embeds: paddle.Tensor | None = None,
        output_type: str | None = "pil",
        return_dict: bool = True,
        callback: Callback | None = None,
        callback_steps: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
        clip_skip: int | None = None,
        prompt_syntax: PromptSyntax = "plain",
        long_prompts: LongPrompts | None = None,
    ) -> StableDiffusionPipelineOutput | tuple:
        """Inpaint the masked part of an image according to prompts.

        Arguments that are not listed are those of `StableDiffusionPipeline`.

        Args:
            image: a PIL image, which is used for each prompt, or a tensor [B, 3, H, W] in [-1, 1].
            mask_image: a PIL image, white where to inpaint, or a tensor [B, 1 or 3, H, W] (or [B, H, W, 1 or 3]), 1
                where to preserve the image.
            strength: fraction of the steps to run, 0 to 1.
            add_predicted_noise: noise the image with the unconditional prediction instead of the initial noise;
                requires guidance.

        Raises:
            InputError: invalid arguments; all of them are listed.
        """
        checks.raise_problems(self, checks.check_components(self.components, "unet", "vae", "scheduler"))
        guidance_problems = checks.check_numbers(guidance_scale=guidance_scale)
        if add_predicted_noise and not guidance_problems and guidance_scale <= 1:
            guidance_problems = ["`add_predicted_noise` requires guidance: `guidance_scale` above 1"]
        prompts = checks.num_prompts(prompt, prompt_embeds)
        checks.raise_problems(
            self,
            checks.problems_of(
                self.check_inputs,
                prompt,
                strength,
                callback_steps,
                negative_prompt=negative_prompt,
                prompt_embeds=prompt_embeds,
                negative_prompt_embeds=negative_prompt_embeds,
            ),
            _check_image("image", image),
            _check_channels(image, self.vae.config.in_channels),
            _check_image("mask_image", mask_image),
            guidance_problems,
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=num_inference_steps,
                num_images_per_prompt=num_images_per_prompt,
                output_type=output_type,
                eta=eta,
            ),
            checks.check_callbacks(callback=callback),
            checks.check_generators_of(generator, prompts, num_images_per_prompt),
        )
        generator = as_generator(generator)
        self._begin(guidance_scale=guidance_scale, clip_skip=clip_skip, cross_attention_kwargs=cross_attention_kwargs)

        # 1. remaining timesteps, prompts
        timesteps, num_inference_steps = retrieve_timesteps(self.scheduler, num_inference_steps)
        timesteps, num_inference_steps = self.get_timesteps(num_inference_steps, strength, self.device)
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
        loop = DenoisingLoop(self, timesteps, num_inference_steps, callback=callback, callback_steps=callback_steps)
        loop.finite.note("the text encoder", prompt_embeds)

        # 2. latents of the image, noised to the first of these timesteps; the mask is 1 where the image is preserved
        latents, image_latents, noise = self.prepare_latents(
            preprocess_image(image, prompts),  # [N, 3, H, W]
            first_timestep(timesteps, prompts * num_images_per_prompt),
            num_images_per_prompt,
            prompt_embeds.dtype,
            self.device,
            generator,
        )  # [B, C, h, w] each
        loop.finite.note("the VAE's encoder", image_latents)
        mask = preprocess_mask(mask_image, prompts, self.vae_scale_factor).astype(latents.dtype)
        mask = paddle.concat([mask] * num_images_per_prompt)  # [B, 1, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, eta)

        # 3. denoise
        denoiser = UNetDenoiser(self.unet, self.scheduler, cross_attention_kwargs=cross_attention_kwargs)
        for i, t in loop.steps():
            noise_pred = denoiser(latents, t, prompt_embeds)  # [2B or B, C, h, w]
            if add_predicted_noise:
                noise = noise_pred.chunk(2)[0]
            noise_pred = self._guide(noise_pred)  # [B, C, h, w]
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            known = self.scheduler.add_noise(image_latents, noise, np.asarray([t]))
            (latents,) = loop.end_step(i, t, latents=known * mask + latents * (1 - mask))

        # 4. restore the preserved part of the image, decode, run the safety checker
        latents = image_latents * mask + latents * (1 - mask)
        image, has_nsfw_concept = self._images(
            latents, output_type=output_type, dtype=prompt_embeds.dtype, finite=loop.finite
        )
        return self._output(image, has_nsfw_concept, return_dict)

    @device_is_optional
    def get_timesteps(self, num_inference_steps: int, strength: float, device: Any) -> tuple[paddle.Tensor, int]:
        """The last fraction `strength` of the scheduler's timesteps, and their number of steps."""
        return last_timesteps(
            self.scheduler, self.scheduler.timesteps, num_inference_steps, strength, set_begin_index=False
        )

    @device_is_optional
    def prepare_latents(
        self,
        image: paddle.Tensor,
        timestep: paddle.Tensor,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator,
    ) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
        """(noised latents, clean latents, noise) of images [N, 3, H, W]: [N * num_images_per_prompt, C, h, w] each."""
        # of a list with one generator for each generated image, the first ones sample the latents of the images
        sampling = generator[: image.shape[0]] if isinstance(generator, list) else generator
        clean = paddle.concat([encode_image(self.vae, image, sampling).astype(dtype)] * num_images_per_prompt)
        noise = randn_tensor(clean.shape, generator=generator, dtype=dtype)
        return self.scheduler.add_noise(clean, noise, timestep), clean, noise


def preprocess_image(image: paddle.Tensor | PIL.Image.Image, batch_size: int) -> paddle.Tensor:
    """Convert a PIL image to [batch_size, 3, H, W] in [-1, 1], resized to multiples of 8; tensors stay as they are."""
    if isinstance(image, paddle.Tensor):
        return image
    width, height = (size - size % 8 for size in image.size)
    resized = np.asarray(to_rgb(image).resize((width, height), resample=RESAMPLING["lanczos"]))  # [H, W, 3]
    pixels = resized.astype(np.float32).transpose(2, 0, 1) / 255.0  # [3, H, W]
    return paddle.to_tensor(np.stack([2.0 * pixels - 1.0] * batch_size))


def preprocess_mask(mask: paddle.Tensor | PIL.Image.Image, batch_size: int, scale_factor: int = 8) -> paddle.Tensor:
    """Convert a mask to the size of the latents, [B, 1, h, w], 1 where the image is preserved.

    Args:
        mask: a PIL image, white where to inpaint; or a tensor [B, C, H, W] or [B, H, W, C] with 1 or 3 channels, 1
            where to preserve the image.
    """
    if isinstance(mask, paddle.Tensor):
        mask = mask.transpose([0, 3, 1, 2]) if mask.shape[3] in (1, 3) else mask  # [B, C, H, W]
        if mask.shape[1] not in (1, 3):
            raise InputError(f"A mask of shape {tuple(mask.shape)} has no channel axis.", expected="1 or 3 channels")
        height, width = ((size - size % 8) // scale_factor for size in mask.shape[-2:])
        return F.interpolate(mask.mean(axis=1, keepdim=True), size=(height, width), mode="nearest")
    width, height = ((size - size % 8) // scale_factor for size in mask.size)
    resized = np.asarray(to_grayscale(mask).resize((width, height), resample=RESAMPLING["nearest"]))  # [h, w]
    return paddle.to_tensor(np.stack([1 - resized.astype(np.float32)[None] / 255.0] * batch_size))


def _check_channels(image: Any, expected: int) -> list[str]:
    """A batch of images has the channels that the VAE encodes; latents are not supported."""
    found = image.shape[1] if isinstance(image, paddle.Tensor) and image.ndim == 4 else expected
    return [] if found == expected else [f"`image` must have {expected} channels, not {found}"]


def _check_image(name: str, value: Any) -> list[str]:
    if isinstance(value, PIL.Image.Image) or (isinstance(value, paddle.Tensor) and value.ndim == 4):
        return []
    return [f"`{name}` must be a PIL image or a Paddle tensor with 4 dimensions, not {type(value).__name__}"]
