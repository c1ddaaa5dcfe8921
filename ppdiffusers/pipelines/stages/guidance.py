"""Guidance: combining the predictions for several conditions into one."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING

import paddle

if TYPE_CHECKING:
    from ppdiffusers.schedulers.common.types import Scheduler


def classifier_free_guidance(
    noise_pred: paddle.Tensor, guidance_scale: float, guidance_rescale: float = 0.0
) -> paddle.Tensor:
    """Combine the unconditional and the conditional prediction.

    Ho and Salimans, "Classifier-Free Diffusion Guidance" (arXiv 2207.12598), equation 6, with guidance_scale = 1 + w.

    Args:
        noise_pred: [2B, C, H, W], the unconditional predictions first.
        guidance_scale: 1 gives the conditional prediction.
        guidance_rescale: see `rescale_noise_cfg`.

    Returns:
        [B, C, H, W]
    """
    noise_pred_uncond, noise_pred_text = noise_pred.chunk(2)
    guided = noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)
    return rescale_noise_cfg(guided, noise_pred_text, guidance_rescale) if guidance_rescale > 0 else guided


def guidance_with_variance(prediction: paddle.Tensor, channels: int, guidance_scale: float) -> paddle.Tensor:
    """Apply classifier-free guidance to the noise of a network that predicts variances too.

    The variances are those of the conditional prediction.

    Args:
        prediction: [2B, C + V, H, W]: noise and variances, the unconditional predictions first.
        channels: C.

    Returns:
        [B, C + V, H, W]
    """
    noise, variance = prediction.split([channels, prediction.shape[1] - channels], axis=1)
    return paddle.concat([classifier_free_guidance(noise, guidance_scale), variance.chunk(2)[1]], axis=1)


def reads_variance(scheduler: Scheduler) -> bool:
    """Return whether the scheduler reads variances that the network predicts.

    Its configuration may contain `variance_type` of another class, from which it was made.
    """
    known = "variance_type" in inspect.signature(type(scheduler).__init__).parameters
    return known and scheduler.config.get("variance_type") in ("learned", "learned_range")


def image_text_guidance(noise_pred: paddle.Tensor, guidance_scale: float, image_guidance_scale: float) -> paddle.Tensor:
    """Combine three predictions: with prompt and image, with the image only, with neither.

    Brooks et al., "InstructPix2Pix" (arXiv 2211.09800), equation 3.

    Args:
        noise_pred: [3B, C, H, W] in this order.

    Returns:
        [B, C, H, W]
    """
    full, image, unconditional = noise_pred.chunk(3)
    return unconditional + guidance_scale * (full - image) + image_guidance_scale * (image - unconditional)


def rescale_noise_cfg(
    noise_cfg: paddle.Tensor, noise_pred_text: paddle.Tensor, guidance_rescale: float = 0.0
) -> paddle.Tensor:
    """Rescale the guided prediction to the standard deviation of the conditional one, and interpolate.

    Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv 2305.08891), section 3.4,
    equations 15 and 16. It reduces the over-exposure that large guidance scales cause.

    Args:
        noise_cfg: the guided prediction, [B, C, H, W].
        noise_pred_text: the conditional prediction, [B, C, H, W].
        guidance_rescale: phi; 0 changes nothing, 1 rescales fully.
    """
    axes = list(range(1, noise_cfg.ndim))
    std_text = noise_pred_text.std(axis=axes, keepdim=True)  # [B, 1, 1, 1]
    std_cfg = noise_cfg.std(axis=axes, keepdim=True)
    rescaled = noise_cfg * (std_text / std_cfg)  # eq. 15
    return guidance_rescale * rescaled + (1 - guidance_rescale) * noise_cfg  # eq. 16


def guidance_scale_embedding(w: paddle.Tensor, embedding_dim: int = 512, dtype: str = "float32") -> paddle.Tensor:
    """Embed guidance scales by sinusoids, for networks that are distilled to take the scale as an input.

    Meng et al., "On Distillation of Guided Diffusion Models" (arXiv 2210.03142); frequencies as in Kingma et al.,
    "Variational Diffusion Models" (arXiv 2107.00630).

    Args:
        w: guidance scales, [B].
        embedding_dim: D.

    Returns:
        [B, D]: sines, then cosines, and a zero if D is odd.
    """
    half = embedding_dim // 2
    rate = math.log(10000.0) / (half - 1)
    frequencies = paddle.exp(paddle.arange(half, dtype=dtype) * -rate)  # [D / 2]
    angles = (w * 1000.0).astype(dtype)[:, None] * frequencies[None, :]  # [B, D / 2]
    embedding = paddle.concat([paddle.sin(angles), paddle.cos(angles)], axis=1)
    if embedding_dim % 2:
        embedding = paddle.concat([embedding, paddle.zeros([w.shape[0], 1], dtype=dtype)], axis=1)
    return embedding
