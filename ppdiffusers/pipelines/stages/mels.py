"""Mel spectrograms that vocoders take."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle


def prepare(mel: Any, bins: int, dtype: paddle.dtype) -> tuple[Any, list[str]]:
    """Return a spectrogram [B, bins, L] from one with or without a batch axis, and the problems that prevent it."""
    expected = f"`mel` must be a tensor or an array [B, {bins}, L] or [{bins}, L]"
    try:
        values = mel if isinstance(mel, paddle.Tensor) else np.asarray(mel, dtype=np.float32)
    except (TypeError, ValueError):
        return None, [f"{expected}, not {type(mel).__name__}"]
    shape = list(values.shape)
    if len(shape) not in (2, 3) or shape[-2] != bins or min(shape) == 0:
        return None, [f"{expected}, not {shape}; the network has {bins} mel bins"]
    if not np.isfinite(values.numpy() if isinstance(values, paddle.Tensor) else values).all():
        return None, ["`mel` has values that are not finite"]
    tensor = as_tensor(values, dtype)
    return (tensor.unsqueeze(0) if tensor.ndim == 2 else tensor), []


def as_tensor(values: paddle.Tensor | np.ndarray, dtype: paddle.dtype) -> paddle.Tensor:
    """Convert an array or a tensor to a tensor of this dtype."""
    return (values if isinstance(values, paddle.Tensor) else paddle.to_tensor(values)).astype(dtype)


def check_output_type(output_type: Any) -> list[str]:
    """Audio is returned as an array or a tensor."""
    return [] if output_type in ("np", "pd") else [f"`output_type` must be 'np' or 'pd', not {output_type!r}"]
