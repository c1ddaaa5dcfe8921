"""The noise a run starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.utils.torch_utils import randn_tensor


def first_latents(
    shape: Sequence[int],
    init_noise_sigma: float,
    dtype: Any,
    generator: Any = None,
    latents: paddle.Tensor | np.ndarray | None = None,
) -> paddle.Tensor:
    """Standard normal noise times the scheduler's first sigma: [B, C, H, W].

    Args:
        shape: (B, C, H, W) to draw.
        init_noise_sigma: the scheduler's; given latents are multiplied by it too.
        generator: anything `randn_tensor` takes, or a list with one for each picture.
        latents: unscaled noise to use instead of drawing.
    """
    if latents is None:
        latents = randn_tensor(shape, generator=generator, dtype=dtype)
    elif isinstance(latents, np.ndarray):
        latents = paddle.to_tensor(latents)
    return latents.astype(dtype) * float(init_noise_sigma)
