"""Between pictures and latents; half precision that overflows is redone in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from ppdiffusers.pipelines.stages.prompts import dtype_of
from ppdiffusers.pipelines.stages.run import FiniteWatch
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


def decode_latents(vae: paddle.nn.Layer, latents: paddle.Tensor, watch: FiniteWatch | None = None) -> paddle.Tensor:
    """Latents as the UNet knows them [B, C, h, w] -> pictures [B, 3, H, W], about in [-1, 1]; see `decode`."""
    return decode(vae, latents / vae.config.scaling_factor, watch)


def decode(
    vae: paddle.nn.Layer, latents: paddle.Tensor, watch: FiniteWatch | None = None, **settings: Any
) -> paddle.Tensor:
    """Latents as the autoencoder knows them [B, C, h, w] -> pictures [B, 3, H, W], about in [-1, 1].

    A VAE in half precision may overflow: such a decode is done again in float32, with a warning.

    Args:
        watch: is told of the result.
        settings: for `vae.decode`.
    """
    image = _in_float32_if_it_overflows(
        vae, lambda z: vae.decode(z, return_dict=False, **settings)[0], latents, "decoding"
    )
    if watch is not None:
        watch.note("the VAE's decoder", image)
    return image


def encode_image(
    vae: paddle.nn.Layer, image: paddle.Tensor, generator: Any = None, watch: FiniteWatch | None = None
) -> paddle.Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] -> a draw of their latents [B, C, h, w], scaled for the UNet.

    Args:
        generator: of the draw; a list has one for each picture.
        watch: is told of the result.
    """
    return encode_distribution(vae, image, watch).sample(generator) * vae.config.scaling_factor


def encode_distribution(
    vae: paddle.nn.Layer, image: paddle.Tensor, watch: FiniteWatch | None = None
) -> DiagonalGaussianDistribution:
    """Pictures [B, 3, H, W] in [-1, 1] -> the distribution of their latents; done in float32 where that is needed."""
    moments = _in_float32_if_it_overflows(vae, lambda x: vae.encode(x).latent_dist.parameters, image, "encoding")
    if watch is not None:
        watch.note("the VAE's encoder", moments)
    return DiagonalGaussianDistribution(moments.astype(dtype_of(vae)))


def first_image_latents(
    vae: paddle.nn.Layer, image: paddle.Tensor, batch_size: int, generator: Any, watch: FiniteWatch | None = None
) -> paddle.Tensor:
    """Latents [batch_size, C, h, w] of the pictures that a run starts from, which are repeated to fill the batch.

    Args:
        image: pictures [N, 3, H, W] in [-1, 1], or their latents [N, C, h, w].
        generator: of the draw; a list has one for each of the batch.
    """
    if image.shape[1] != vae.config.latent_channels:
        if isinstance(generator, list):
            image = repeat_to(image, batch_size)
        image = encode_image(vae, image, generator, watch)
    return repeat_to(image, batch_size)


def repeat_to(pictures: paddle.Tensor, batch_size: int, name: str = "image") -> paddle.Tensor:
    """[N, ...] -> [batch_size, ...]: the whole batch again and again.

    Raises:
        InputError: batch_size is no multiple of N.
    """
    count = pictures.shape[0]
    if batch_size % count:
        raise InputError(
            f"{count} picture(s) (`{name}`) cannot be repeated for {batch_size} picture(s) to be painted.",
            expected="one picture, or as many as there are prompts (times num_images_per_prompt)",
        )
    return pictures.tile([batch_size // count] + [1] * (pictures.ndim - 1))


def _in_float32_if_it_overflows(
    vae: paddle.nn.Layer, run: Callable[[paddle.Tensor], paddle.Tensor], x: paddle.Tensor, doing: str
) -> paddle.Tensor:
    dtype = dtype_of(vae)
    result = run(x.astype(dtype))
    if dtype == paddle.float32 or not _all_finite(x) or _all_finite(result):
        return result
    logger.warning(
        "The VAE overflows in %s: %s once more in float32. `pipe.vae.to(dtype='float32')` avoids this.",
        str(dtype).rpartition(".")[2],
        doing,
    )
    vae.to(dtype="float32")
    try:
        return run(x.astype("float32"))
    finally:
        vae.to(dtype=dtype)  # 16 bits -> 32 bits -> 16 bits gives the same weights


def _all_finite(value: Any) -> bool:
    return bool(paddle.isfinite(value).all())
