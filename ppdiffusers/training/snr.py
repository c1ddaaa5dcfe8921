"""Signal-to-noise ratios, for loss weights such as Min-SNR (arXiv 2303.09556)."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import paddle


class HasAlphasCumprod(Protocol):
    """A scheduler with a discrete noise schedule."""

    alphas_cumprod: np.ndarray | paddle.Tensor


def compute_snr(noise_scheduler: HasAlphasCumprod, timesteps: paddle.Tensor) -> paddle.Tensor:
    """Compute alpha_t^2 / sigma_t^2 for each timestep.

    Args:
        noise_scheduler: scheduler whose `alphas_cumprod` defines the noise schedule.
        timesteps: integers, of any shape.

    Returns:
        float32, of the shape of `timesteps`.
    """
    alphas_cumprod = paddle.to_tensor(noise_scheduler.alphas_cumprod, dtype="float32")  # [num_train_timesteps]
    selected = alphas_cumprod[timesteps.flatten()].reshape(timesteps.shape)
    # diffusers squares a ratio of square roots; the rounding follows it
    return (selected.sqrt() / (1.0 - selected).sqrt()) ** 2
