"""Checks of a network's input."""

from __future__ import annotations

import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.dtypes import check_computable


def check_channels(sample: paddle.Tensor, in_channels: int, model: str) -> None:
    """Check that a sample is [B, in_channels, H, W], with a dtype that its device can compute with.

    Raises:
        InputError: the shape or the dtype does not fit.
    """
    if sample.ndim != 4 or sample.shape[1] != in_channels:
        raise InputError(
            f"{model} was given a sample of shape {list(sample.shape)}.",
            expected=f"[batch, {in_channels}, height, width]",
        )
    check_computable(sample, model)
