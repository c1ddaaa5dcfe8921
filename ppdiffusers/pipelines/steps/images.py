"""From latents to pictures; half precision that overflows is redone in float32."""

from __future__ import annotations

from typing import Any

import paddle

from ppdiffusers.pipelines.steps.prompts import dtype_of
from ppdiffusers.pipelines.steps.run import FiniteWatch
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


def decode_latents(vae: paddle.nn.Layer, latents: paddle.Tensor, watch: FiniteWatch | None = None) -> paddle.Tensor:
    """Latents [B, C, h, w] -> pictures [B, 3, H, W], about in [-1, 1].

    A VAE in half precision may overflow: such a decode is done again in float32, with a warning.

    Args:
        watch: is told of the result.
    """
    latents = latents / vae.config.scaling_factor
    dtype = dtype_of(vae)
    image = vae.decode(latents.astype(dtype), return_dict=False)[0]
    if dtype != paddle.float32 and _all_finite(latents) and not _all_finite(image):
        logger.warning(
            "The VAE overflows in %s: decoding once more in float32. `pipe.vae.to(dtype='float32')` avoids this.",
            str(dtype).rpartition(".")[2],
        )
        vae.to(dtype="float32")
        try:
            image = vae.decode(latents.astype("float32"), return_dict=False)[0]
        finally:
            vae.to(dtype=dtype)  # 16 bits -> 32 bits -> 16 bits gives the same weights
    if watch is not None:
        watch.note("the VAE's decoder", image)
    return image


def _all_finite(value: Any) -> bool:
    return bool(paddle.isfinite(value).all())
