"""Classifier-free guidance, and what goes with it."""

from __future__ import annotations

import math

import paddle


def guide(noise_pred: paddle.Tensor, guidance_scale: float, guidance_rescale: float = 0.0) -> paddle.Tensor:
    """Classifier-free guidance: away from the unconditional prediction, towards the text-conditional one.

    Ho and Salimans, "Classifier-Free Diffusion Guidance" (arXiv 2207.12598), equation 6, with guidance_scale = 1 + w.

    Args:
        noise_pred: [2B, C, H, W], the unconditional predictions first.
        guidance_scale: 1 is the text-conditional prediction itself.
        guidance_rescale: see `rescale_noise_cfg`.

    Returns:
        [B, C, H, W]
    """
    noise_pred_uncond, noise_pred_text = noise_pred.chunk(2)
    guided = noise_pred_uncond + guidance_scale * (noise_pred_text - noise_pred_uncond)
    return rescale_noise_cfg(guided, noise_pred_text, guidance_rescale) if guidance_rescale > 0 else guided


def rescale_noise_cfg(
    noise_cfg: paddle.Tensor, noise_pred_text: paddle.Tensor, guidance_rescale: float = 0.0
) -> paddle.Tensor:
    """Give the guided prediction the spread of the text-conditional one, and mix.

    Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv 2305.08891), section 3.4,
    equations 15 and 16. It counters the over-exposure that strong guidance causes.

    Args:
        noise_cfg: the guided prediction, [B, C, H, W].
        noise_pred_text: the text-conditional prediction, [B, C, H, W].
        guidance_rescale: phi; 0 changes nothing, 1 takes over the spread fully.
    """
    axes = list(range(1, noise_cfg.ndim))
    std_text = noise_pred_text.std(axis=axes, keepdim=True)  # [B, 1, 1, 1]
    std_cfg = noise_cfg.std(axis=axes, keepdim=True)
    rescaled = noise_cfg * (std_text / std_cfg)  # eq. 15
    return guidance_rescale * rescaled + (1 - guidance_rescale) * noise_cfg  # eq. 16


def guidance_scale_embedding(w: paddle.Tensor, embedding_dim: int = 512, dtype: str = "float32") -> paddle.Tensor:
    """Sinusoidal embedding of guidance scales, for networks distilled to take the scale as an input.

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
