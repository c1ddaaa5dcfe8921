"""The run of a Versatile Diffusion pipeline, whatever it attends to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from ppdiffusers.pipelines.pipeline_utils import ImagePipelineOutput
from ppdiffusers.pipelines.stages import checks
from ppdiffusers.pipelines.stages.guidance import guide
from ppdiffusers.pipelines.stages.images import decode_latents
from ppdiffusers.pipelines.stages.run import Loop, retrieve_timesteps
from ppdiffusers.pipelines.stages.text_guided import LatentsMixin
from ppdiffusers.utils.torch_utils import as_generator


@dataclass(frozen=True)
class Settings:
    """The arguments that the pipelines have in common; see any of their calls."""

    height: int | None
    width: int | None
    num_inference_steps: int
    guidance_scale: float
    num_images_per_prompt: int
    eta: float
    generator: Any
    latents: paddle.Tensor | np.ndarray | None
    output_type: str
    return_dict: bool
    callback: Callable[[int, Any, paddle.Tensor], None] | None
    callback_steps: int

    @property
    def guided(self) -> bool:
        return self.guidance_scale > 1.0


class PaintingMixin(LatentsMixin):
    """Checks and the denoising loop. It stands before `DiffusionPipeline` among the base classes.

    Class attributes:
        _attend: makes the UNet that a pipeline runs with, of the UNet over pictures and that over texts (or None).
    """

    _attend: Callable[[Any, Any], Any]

    def _register(self, **components: Any) -> None:
        super()._register(**components)
        if self.image_unet is not None:
            self.image_unet = self._attend(self.image_unet, components.get("text_unet"))

    def _check(self, settings: Settings, prompts: int | None, *findings: Iterable[str]) -> None:
        """Raise one InputError that lists everything wrong; `prompts`: how many there are, None if that is unknown."""
        height, width = self._size(settings)
        checks.refuse(
            self,
            *findings,
            checks.check_size(height, width),
            checks.check_callbacks(None, None, (), settings.callback, settings.callback_steps),
            checks.check_sampling(
                self.scheduler,
                settings.num_inference_steps,
                settings.num_images_per_prompt,
                settings.output_type,
                guidance_scale=settings.guidance_scale,
                eta=settings.eta,
            ),
            checks.check_noise(
                settings.latents,
                settings.generator,
                prompts,
                settings.num_images_per_prompt,
                self.image_unet.config.in_channels,
                (height, width),
                self.vae_scale_factor,
            ),
        )

    def _size(self, settings: Settings) -> tuple[int, int]:
        """Pixels asked for, or what the UNet was trained for."""
        trained = self.image_unet.config.sample_size * self.vae_scale_factor
        return settings.height or trained, settings.width or trained

    def _paint(
        self, tokens: paddle.Tensor, settings: Settings, mixing: dict[str, Any] | None = None
    ) -> ImagePipelineOutput | tuple:
        """Pictures from noise.

        Args:
            tokens: what the UNet attends to, [2B or B, L, D]; with guidance what to keep away from comes first.
            mixing: how a UNet with two conditions mixes them.
        """
        self._interrupt = False
        generator, guided = as_generator(settings.generator), settings.guided
        timesteps, steps = retrieve_timesteps(self.scheduler, settings.num_inference_steps)
        latents = self.prepare_latents(
            tokens.shape[0] // (2 if guided else 1),
            self.image_unet.config.in_channels,
            *self._size(settings),
            tokens.dtype,
            self.device,
            generator,
            settings.latents,
        )  # [B, C, h, w]
        extra_step_kwargs = self.prepare_extra_step_kwargs(generator, settings.eta)

        loop = Loop(self, timesteps, steps, callback=settings.callback, callback_steps=settings.callback_steps)
        loop.watch.note("CLIP's encoders", tokens)
        for i, t in loop.steps():
            model_input = paddle.concat([latents] * 2) if guided else latents
            model_input = self.scheduler.scale_model_input(model_input, t)
            noise_pred = self.image_unet(
                model_input, t, encoder_hidden_states=tokens, cross_attention_kwargs=mixing, return_dict=False
            )[0]  # [2B or B, C, h, w]
            if guided:
                noise_pred = guide(noise_pred, settings.guidance_scale)
            latents = self.scheduler.step(noise_pred, t, latents, **extra_step_kwargs, return_dict=False)[0]
            (latents,) = loop.end_step(i, t, latents=latents)

        output_type = settings.output_type
        image = latents if output_type == "latent" else decode_latents(self.vae, latents, loop.watch)
        loop.watch.warn()
        images = self.image_processor.postprocess(image, output_type)
        return ImagePipelineOutput(images=images) if settings.return_dict else (images,)
