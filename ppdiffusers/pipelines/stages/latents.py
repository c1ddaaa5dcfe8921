"""Latents: initial noise, encoding of images, decoding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from ppdiffusers.pipelines.stages.exported import first_output
from ppdiffusers.pipelines.stages.finite import FiniteCheck
from ppdiffusers.runtime.turns import network_turn
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.logging import get_logger
from ppdiffusers.utils.pil_modes import rgb_images
from ppdiffusers.utils.torch_utils import Generator, randn_tensor

if TYPE_CHECKING:
    from ppdiffusers.image_processor import PipelineImageInput, VaeImageProcessor
    from ppdiffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from ppdiffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
    from ppdiffusers.models.autoencoders.vq_model import VQModel

    Autoencoder = AutoencoderKL | AutoencoderTiny

logger = get_logger(__name__)


def initial_latents(
    shape: Sequence[int],
    init_noise_sigma: float,
    dtype: paddle.dtype,
    generator: Generator = None,
    latents: paddle.Tensor | np.ndarray | None = None,
) -> paddle.Tensor:
    """Standard normal noise times the scheduler's first sigma: [B, C, H, W].

    Args:
        shape: (B, C, H, W) of the noise.
        init_noise_sigma: of the scheduler; given latents are multiplied by it too.
        generator: see `randn_tensor`; a list has one entry for each image.
        latents: unscaled noise to use instead of drawing it.
    """
    if latents is None:
        latents = randn_tensor(shape, generator=generator, dtype=dtype)
    elif isinstance(latents, np.ndarray):
        latents = paddle.to_tensor(latents)
    return latents.astype(dtype) * float(init_noise_sigma)


def decode_latents(vae: Autoencoder, latents: paddle.Tensor, finite: FiniteCheck | None = None) -> paddle.Tensor:
    """Decode latents of the denoising network [B, C, h, w] to images [B, 3, H, W], about in [-1, 1]; see `decode`."""
    return decode(vae, vae.denormalize_latents(latents), finite)


def decode(
    vae: Autoencoder | VQModel, latents: paddle.Tensor, finite: FiniteCheck | None = None, **settings: Any
) -> paddle.Tensor:
    """Decode latents of the autoencoder [B, C, h, w] to images [B, 3, H, W], about in [-1, 1].

    In half precision a VAE may overflow: the images are then decoded again in float32, with a warning.

    Args:
        finite: records whether the result is finite.
        settings: arguments of `vae.decode`.
    """

    def decode_once(z: paddle.Tensor) -> paddle.Tensor:
        return first_output(vae.decode(z, return_dict=False, **settings))

    image = _retry_in_float32(vae, decode_once, latents, "decoding")
    if finite is not None:
        finite.note("the VAE's decoder", image)
    return image


def encode_image(
    vae: Autoencoder, image: paddle.Tensor, generator: Generator = None, finite: FiniteCheck | None = None
) -> paddle.Tensor:
    """Sample latents [B, C, h, w] of images [B, 3, H, W] in [-1, 1], scaled for the denoising network.

    Args:
        generator: of the sample; a list has one entry for each image.
        finite: records whether the result is finite.
    """
    return vae.normalize_latents(encode(vae, image, lambda distribution: distribution.sample(generator), finite))


def encode(
    vae: Autoencoder,
    image: paddle.Tensor,
    choose: Callable[[DiagonalGaussianDistribution], paddle.Tensor],
    finite: FiniteCheck | None = None,
) -> paddle.Tensor:
    """Encode images [B, 3, H, W] in [-1, 1] to latents of the autoencoder [B, C, h, w], in float32 if necessary.

    Args:
        choose: returns latents of the VAE's distribution; an autoencoder without a distribution encodes to latents.
        finite: records whether the result is finite.
    """

    def run(x: paddle.Tensor) -> paddle.Tensor:
        encoded = vae.encode(x, return_dict=False)[0]
        return encoded.parameters if vae.encodes_distribution else encoded

    encoded = _retry_in_float32(vae, run, image, "encoding")  # [B, 2C, h, w] or [B, C, h, w]
    if finite is not None:
        finite.note("the VAE's encoder", encoded)
    encoded = encoded.astype(dtype_of(vae))
    return choose(DiagonalGaussianDistribution(encoded)) if vae.encodes_distribution else encoded


def preprocess_images(
    processor: VaeImageProcessor, vae: Autoencoder, image: PipelineImageInput, *args: Any, **kwargs: Any
) -> paddle.Tensor:
    """Preprocess images of a call to [N, 3, H, W] in [-1, 1]; latents [N, C, h, w] are unchanged.

    PIL images of every mode are converted to RGB. What is not latents (see `vae.is_latents`) has the channels that the
    VAE encodes, so that later stages do not mistake images for latents.

    Args:
        args, kwargs: more arguments of `processor.preprocess`, such as height and width.

    Raises:
        InputError: images with another number of channels.
    """
    pixels = processor.preprocess(rgb_images(image), *args, **kwargs)
    expected = vae.config.in_channels
    if not vae.is_latents(image) and pixels.shape[1] != expected:
        first = image[0] if isinstance(image, (list, tuple)) else image
        latents = f", or latents as a Paddle tensor [batch, {vae.latent_channels}, height, width]"
        raise InputError(
            f"`image` has {pixels.shape[1]} channel(s).",
            where=f"{type(first).__name__} of shape {tuple(getattr(first, 'shape', ()))}",
            expected=f"{expected} channels, the last axis of an array or the axis before height of a tensor{latents}",
        )
    return pixels


def retrieve_latents(
    encoder_output: Any, generator: Generator = None, sample_mode: Literal["sample", "argmax"] = "sample"
) -> paddle.Tensor:
    """Return the latents [B, C, h, w] of what `vae.encode` returned.

    Args:
        generator: draws the sample of a distribution.
        sample_mode: "argmax" for the mode of the distribution.

    Raises:
        AttributeError: the output has no latents.
    """
    if hasattr(encoder_output, "latent_dist") and sample_mode in ("sample", "argmax"):
        distribution = encoder_output.latent_dist
        return distribution.sample(generator) if sample_mode == "sample" else distribution.mode()
    if hasattr(encoder_output, "latents"):
        return encoder_output.latents
    raise AttributeError(f"{type(encoder_output).__name__} has no latents for {sample_mode=}.")


def image_latents(
    vae: Autoencoder, image: paddle.Tensor, batch_size: int, generator: Generator, finite: FiniteCheck | None = None
) -> paddle.Tensor:
    """Latents [batch_size, C, h, w] of the images that a call starts from, repeated to fill the batch.

    Args:
        image: images [N, 3, H, W] in [-1, 1], or their latents [N, C, h, w].
        generator: of the sample; a list has one entry for each image of the batch.
    """
    if not vae.is_latents(image):
        if isinstance(generator, list):
            image = repeat_to(image, batch_size)
        image = encode_image(vae, image, generator, finite)
    return repeat_to(image, batch_size)


def repeat_to(images: paddle.Tensor, batch_size: int, name: str = "image") -> paddle.Tensor:
    """Repeat a batch [N, ...] to [batch_size, ...].

    Raises:
        InputError: batch_size is not a multiple of N.
    """
    count = images.shape[0]
    if batch_size % count:
        raise InputError(
            f"`{name}` has {count} image(s), which cannot be repeated for a batch of {batch_size} image(s).",
            expected="one image, or as many as there are prompts (times num_images_per_prompt)",
        )
    return images.tile([batch_size // count] + [1] * (images.ndim - 1))


def _retry_in_float32(
    vae: Autoencoder | VQModel,
    run: Callable[[paddle.Tensor], paddle.Tensor],
    x: paddle.Tensor,
    operation: str,
) -> paddle.Tensor:
    with network_turn(vae):  # it is cast in place
        dtype = dtype_of(vae)
        result = run(x.astype(dtype))
        if dtype == paddle.float32 or not _all_finite(x) or _all_finite(result):
            return result
        logger.warning(
            "The VAE overflows in %s: %s is repeated in float32. `pipe.vae.to(dtype='float32')` avoids this.",
            str(dtype).rpartition(".")[2],
            operation,
        )
        vae.to(dtype="float32")
        try:
            return run(x.astype("float32"))
        finally:
            vae.to(dtype=dtype)  # 16 bits -> 32 bits -> 16 bits restores the weights exactly


def _all_finite(value: paddle.Tensor) -> bool:
    return bool(paddle.isfinite(value).all())
