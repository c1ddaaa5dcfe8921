"""Steps of a batch whose samples are at different timesteps (ParaDiGMS: Shih et al. 2023, arXiv 2305.16317)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from paddle import Tensor

from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import to_array
from ppdiffusers.schedulers.common.noise_schedule import per_sample


class BatchLevels(NamedTuple):
    """alpha_bar of each sample at its timestep and at the previous one, [B, 1, ...]."""

    alpha_bar: Tensor
    alpha_bar_prev: Tensor


def batch_levels(alphas_cumprod: np.ndarray, timesteps: object, stride: int, like: Tensor) -> BatchLevels:
    """Look up alpha_bar at timesteps [B] and `stride` before them; it is 1 before the first.

    Raises:
        InputError: a timestep is outside the training range, or their number is not that of the samples `like`.
    """
    t = to_array(timesteps).astype(np.int64).reshape(-1)  # [B]
    if len(t) not in (1, like.shape[0]):
        raise InputError(f"Got {len(t)} timesteps for a batch of {like.shape[0]} samples.", where="timesteps")
    if not (t.min() >= 0 and t.max() < len(alphas_cumprod)):
        raise InputError(
            f"The timesteps {t.tolist()} are outside the training range.",
            expected=f"integers from 0 to {len(alphas_cumprod) - 1}",
        )
    before = t - stride
    previous = np.where(before < 0, np.float32(1), alphas_cumprod[before.clip(0)])
    return BatchLevels(per_sample(alphas_cumprod[t], like), per_sample(previous, like))


def batch_x0(prediction_type: str, output: Tensor, sample: Tensor, alpha_bar: Tensor) -> Tensor:
    """Convert predictions [B, C, ...] to clean samples, with alpha_bar of each sample, [B, 1, ...]."""
    if prediction_type == "epsilon":
        return (sample - (1 - alpha_bar).sqrt() * output) / alpha_bar.sqrt()
    if prediction_type == "v_prediction":
        return alpha_bar.sqrt() * sample - (1 - alpha_bar).sqrt() * output
    return output


def batch_epsilon(prediction_type: str, output: Tensor, sample: Tensor, alpha_bar: Tensor) -> Tensor:
    """Convert predictions [B, C, ...] to noise, with alpha_bar of each sample, [B, 1, ...]."""
    if prediction_type == "sample":
        return (sample - alpha_bar.sqrt() * output) / (1 - alpha_bar).sqrt()
    if prediction_type == "v_prediction":
        return alpha_bar.sqrt() * output + (1 - alpha_bar).sqrt() * sample
    return output
