"""Calls that start from a noised image (SDEdit, arXiv 2108.01073)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.pipelines.stages.latents import image_latents
from ppdiffusers.utils.torch_utils import randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.schedulers.common.types import Scheduler


def noised_image_latents(
    scheduler: Scheduler,
    vae: AutoencoderKL,
    *,
    image: paddle.Tensor,
    timestep: np.ndarray,
    batch_size: int,
    dtype: Any,
    generator: Any,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Encode images and add noise: (noised latents, clean latents), [batch_size, C, h, w] each.

    Args:
        image: images [N, 3, H, W] in [-1, 1], or their latents [N, C, h, w]; batch_size is a multiple of N.
        timestep: noise level of each image, [batch_size].
        generator: draws the latents of the images, then the noise.
    """
    clean = image_latents(vae, image, batch_size, generator).astype(dtype)
    noise = randn_tensor(clean.shape, generator=generator, dtype=dtype)
    return scheduler.add_noise(clean, noise, timestep), clean
