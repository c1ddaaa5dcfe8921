"""What Stable Diffusion XL pipelines that start from an image share: the refiner's settings, remaining timesteps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers.pipelines.stable_diffusion_xl.base import StableDiffusionXLBase
from ppdiffusers.pipelines.stages.device import device_is_optional
from ppdiffusers.pipelines.stages.timesteps import last_timesteps, timesteps_from

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
    ) -> tuple[np.ndarray, int]:
        """The timesteps after `denoising_start`, else the last fraction `strength`, and their number of steps."""
        timesteps = self.scheduler.timesteps
        if denoising_start is not None:
            return timesteps_from(self.scheduler, timesteps, denoising_start)
        return last_timesteps(self.scheduler, timesteps, num_inference_steps, strength)

    def _begin_at(self, denoising_start: float | None, denoising_end: float | None) -> None:
        """Record the part of the noise schedule that this call runs."""
        self._denoising_start, self._denoising_end = denoising_start, denoising_end

    @property
    def denoising_start(self) -> float | None:
        return self._denoising_start
