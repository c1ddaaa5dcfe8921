"""Calls that start from a noised image (SDEdit, arXiv 2108.01073), or read an image (InstructPix2Pix, 2211.09800)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.pipelines.stages.latents import encode, image_latents, repeat_to
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from ppdiffusers.schedulers.common.types import Scheduler


def noised_image_latents(
    scheduler: Scheduler,
    vae: AutoencoderKL,
    *,
    image: paddle.Tensor,
    timestep: paddle.Tensor,
    batch_size: int,
    dtype: paddle.dtype,
    generator: Generator,
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


def edited_image_latents(
    vae: AutoencoderKL, image: paddle.Tensor, batch_size: int, dtype: paddle.dtype, *, guided: bool
) -> paddle.Tensor:
    """Latents that the UNet of InstructPix2Pix reads: [B, C, h, w]; with guidance [3B, C, h, w], the last third zero.

    They are the mode of the VAE's distribution, without scaling.

    Args:
        image: images [N, 3, H, W] in [-1, 1], or such latents [N, C, h, w].
    """
    if not vae.is_latents(image):
        image = encode(vae, image, lambda distribution: distribution.mode())
    latents = repeat_to(image.astype(dtype), batch_size)
    return paddle.concat([latents, latents, paddle.zeros_like(latents)]) if guided else latents


def check_edit_channels(unet: UNet2DConditionModel, found: int) -> None:
    """Raise ConfigError unless the UNet accepts the channels of latents and image together."""
    if found != unet.config.in_channels:
        raise ConfigError(
            f"The UNet accepts {unet.config.in_channels} channels; latents and image have {found}.",
            expected="the UNet of an InstructPix2Pix checkpoint, such as timbrooks/instruct-pix2pix",
        )
