"""What Stable Diffusion XL pipelines that start from an image share: the refiner's settings, timesteps, latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.pipelines.stable_diffusion_xl.base import StableDiffusionXLBase
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.latents import image_latents
from ppdiffusers.pipelines.stages.timesteps import (
    last_timesteps,
    retrieve_timesteps,
    timesteps_from,
    timesteps_until,
)
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

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


class StableDiffusionXLImg2ImgBase(StableDiffusionXLBase):
    """Components of `StableDiffusionXLBase`, which may be those of the refiner.

    Args:
        requires_aesthetics_score: whether the UNet is conditioned on an aesthetic score, as that of the refiner.
    """

    _denoising_start: float | None = None

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: CLIPTextModel,
        text_encoder_2: CLIPTextModelWithProjection,
        tokenizer: CLIPTokenizer,
        tokenizer_2: CLIPTokenizer,
        unet: UNet2DConditionModel,
        scheduler: Scheduler,
        image_encoder: CLIPVisionModelWithProjection | None = None,
        feature_extractor: CLIPImageProcessor | None = None,
        requires_aesthetics_score: bool = False,
        force_zeros_for_empty_prompt: bool = True,
        add_watermarker: bool | None = None,
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
            force_zeros_for_empty_prompt,
            add_watermarker,
        )
        self.register_to_config(requires_aesthetics_score=requires_aesthetics_score)

    @device_is_optional
    def get_timesteps(
        self, num_inference_steps: int, strength: float, device: Any, denoising_start: float | None = None
    ) -> tuple[paddle.Tensor, int]:
        """The timesteps after `denoising_start`, else the last fraction `strength`, and their number of steps."""
        timesteps = self.scheduler.timesteps
        if denoising_start is not None:
            return timesteps_from(self.scheduler, timesteps, denoising_start)
        return last_timesteps(self.scheduler, timesteps, num_inference_steps, strength)

    def _timesteps_to_run(
        self,
        num_inference_steps: int,
        strength: float,
        timesteps: Sequence[int] | np.ndarray | None = None,
        sigmas: Sequence[float] | None = None,
    ) -> tuple[paddle.Tensor, int]:
        """The timesteps of this call, between `denoising_start` and `denoising_end`, and their number of steps.

        `timesteps` and `sigmas` are those of `retrieve_timesteps`.
        """
        timesteps, steps = retrieve_timesteps(self.scheduler, num_inference_steps, timesteps, sigmas)
        timesteps, steps = self.get_timesteps(steps, strength, self.device, self.denoising_start or None)
        timesteps, steps = timesteps_until(self.scheduler, timesteps, steps, self.denoising_end)
        self._num_timesteps = len(timesteps)
        return timesteps, steps

    @device_is_optional
    def prepare_latents(
        self,
        image: paddle.Tensor,
        timestep: paddle.Tensor,
        batch_size: int,
        num_images_per_prompt: int,
        dtype: paddle.dtype,
        device: Any,
        generator: Generator = None,
        add_noise: bool = True,
    ) -> paddle.Tensor:
        """Latents [B, C, h, w] of images [N, 3, H, W] or latents [N, C, h, w].

        Args:
            timestep: noise level of each image, [B].
            add_noise: whether to add noise at all.
        """
        with self._vae_in_float32(paddle.float16, paddle.bfloat16):
            clean = image_latents(self.vae, image, batch_size * num_images_per_prompt, generator).astype(dtype)
        if not add_noise:
            return clean
        return self.scheduler.add_noise(clean, randn_tensor(clean.shape, generator=generator, dtype=dtype), timestep)

    def _begin_at(self, denoising_start: float | None, denoising_end: float | None) -> None:
        """Record the part of the noise schedule that this call runs."""
        self._denoising_start, self._denoising_end = denoising_start, denoising_end

    @property
    def denoising_start(self) -> float | None:
        return self._denoising_start
