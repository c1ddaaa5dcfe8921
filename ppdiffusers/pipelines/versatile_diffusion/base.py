"""What the pipelines of Versatile Diffusion share: components, checks, the denoising loop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages import latents as latents_stage
from ppdiffusers.pipelines.stages.denoise import Callback, DenoisingLoop, UNetDenoiser
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.guidance import classifier_free_guidance
from ppdiffusers.pipelines.stages.timesteps import retrieve_timesteps, step_kwargs
from ppdiffusers.utils.torch_utils import Generator, as_generator

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.pipelines.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler


@dataclass(frozen=True)
class CallSettings:
    """The arguments that the pipelines have in common; each `__call__` documents them."""

    height: int | None
    width: int | None
    num_inference_steps: int
    guidance_scale: float
    num_images_per_prompt: int
    eta: float
    generator: Generator
    latents: paddle.Tensor | np.ndarray | None
    output_type: str
    return_dict: bool
    callback: Callback | None
    callback_steps: int

    @property
    def guided(self) -> bool:
        return self.guidance_scale > 1.0


class VersatileDiffusionBase(DiffusionPipeline):
    """A pipeline that generates images with the image UNet of Versatile Diffusion.

    Subclasses override `conditioned_unet`, which selects the conditions that the UNet attends to.
    """

    vae: AutoencoderKL
    image_unet: UNet2DConditionModel
    scheduler: Scheduler

    @staticmethod
    def conditioned_unet(
        image_unet: UNet2DConditionModel, text_unet: UNetFlatConditionModel | None
    ) -> UNet2DConditionModel:
        """The UNet that the pipeline runs, made from the image UNet and the text UNet."""
        return image_unet

    def _register(self, **components: Any) -> None:
        """Register the components and create the image processor."""
        self.register_modules(**components)
        # each level of the VAE except the last halves height and width
        self.vae_scale_factor = 8 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor)
        if self.image_unet is not None:
            self.image_unet = self.conditioned_unet(self.image_unet, components.get("text_unet"))

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
        """Initial latents [batch_size, num_channels_latents, height / 8, width / 8]."""
        shape = (batch_size, num_channels_latents, height // self.vae_scale_factor, width // self.vae_scale_factor)
        return latents_stage.initial_latents(shape, self.scheduler.init_noise_sigma, dtype, generator, latents)

    def prepare_extra_step_kwargs(self, generator: Generator, eta: float) -> dict[str, Any]:
        """Keyword arguments of the scheduler's step."""
        return step_kwargs(self.scheduler, generator, eta)

    def decode_latents(self, latents: paddle.Tensor) -> np.ndarray:
        """Decode latents [B, C, h, w] to float32 images [B, H, W, 3] in [0, 1]."""
        return np.asarray(self.image_processor.postprocess(latents_stage.decode_latents(self.vae, latents), "np"))

    def _check(self, settings: CallSettings, *problems: Iterable[str], prompts: int | None) -> None:
        """Raise one InputError that lists all problems.

        Args:
            problems: of the arguments that are not in `settings`.
            prompts: number of prompts; None if it is unknown.
        """
        height, width = self._size(settings)
        checks.raise_problems(
            self,
            *problems,
            checks.check_size(height=height, width=width),
            checks.check_callbacks(callback=settings.callback, callback_steps=settings.callback_steps),
            checks.check_sampling(
                scheduler=self.scheduler,
                num_inference_steps=settings.num_inference_steps,
                num_images_per_prompt=settings.num_images_per_prompt,
                output_type=settings.output_type,
                guidance_scale=settings.guidance_scale,
                eta=settings.eta,
            ),
            checks.check_noise(
                latents=settings.latents,
                generator=settings.generator,
                prompts=prompts,
                num_images_per_prompt=settings.num_images_per_prompt,
                channels=self.image_unet.config.in_channels,
                height=height,
                width=width,
                scale_factor=self.vae_scale_factor,
            ),
        )

    def _size(self, settings: CallSettings) -> tuple[int, int]:
        """Height and width in pixels; by default the UNet's `sample_size`."""
        default = self.image_unet.config.sample_size * self.vae_scale_factor
        return settings.height or default, settings.width or default

    def _generate(
        self, embeds: paddle.Tensor, settings: CallSettings, cross_attention_kwargs: dict[str, Any] | None = None
    ) -> ImagePipelineOutput | tuple:
        """Generate images conditioned on embeddings.

        Args:
            embeds: [2B or B, L, D], with guidance the unconditional ones first.
            cross_attention_kwargs: how a UNet with two conditions mixes them.
        """
        self._interrupt = False
        generator = as_generator(settings.generator)
        timesteps, steps = retrieve_timesteps(self.scheduler, settings.num_inference_steps)
        latents = self.prepare_latents(
            embeds.shape[0] // (2 if settings.guided else 1),
            self.image_unet.config.in_channels,
            *self._size(settings),
            embeds.dtype,
            self.device,
            generator,
            settings.latents,
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, settings.eta)

        denoiser = UNetDenoiser(self.image_unet, self.scheduler, cross_attention_kwargs=cross_attention_kwargs)
        loop = DenoisingLoop(self, timesteps, steps, callback=settings.callback, callback_steps=settings.callback_steps)
        loop.finite.note("CLIP's encoders", embeds)
        for i, t in loop.steps():
            noise_pred = denoiser(latents, t, embeds)  # [2B or B, C, h, w]
            if settings.guided:
                noise_pred = classifier_free_guidance(noise_pred, settings.guidance_scale)
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        image = latents
        if settings.output_type != "latent":
            image = latents_stage.decode_latents(self.vae, latents, loop.finite)  # [B, 3, H, W]
        loop.finite.warn()
        images = self.image_processor.postprocess(image, settings.output_type)
        return ImagePipelineOutput(images=images) if settings.return_dict else (images,)
