"""Checks of a network's input."""

from __future__ import annotations

import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.dtypes import computable


def check_channels(sample: paddle.Tensor, in_channels: int, model: str) -> paddle.Tensor:
    """Return a sample that is [B, in_channels, H, W]; on a CPU one in half precision is returned in float32.

    Raises:
        InputError: the shape does not fit.
    """
    if sample.ndim != 4 or sample.shape[1] != in_channels:
        raise InputError(
            f"{model} was given a sample of shape {list(sample.shape)}.",
            expected=f"[batch, {in_channels}, height, width]",
        )
    return computable(sample)
