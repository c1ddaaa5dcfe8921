"""Resampling of tensors with filters that Paddle's `interpolate` does not have."""

from __future__ import annotations

import numpy as np
import paddle


def resize_bicubic_antialiased(image: paddle.Tensor, size: tuple[int, int]) -> paddle.Tensor:
    """Resize images [B, C, h, w] to `size` = (height, width) as torch does with `antialias=True`, and PIL.

    The filter is Keys' cubic (1981, equation 15, a = -0.5), widened when the image is reduced. `paddle`'s and torch's
    filter without antialiasing have a = -0.75 and another border.
    """
    rows = paddle.to_tensor(_filter_matrix(image.shape[2], size[0])).astype(image.dtype)  # [H, h]
    columns = paddle.to_tensor(_filter_matrix(image.shape[3], size[1])).astype(image.dtype)  # [W, w]
    return paddle.matmul(paddle.matmul(rows, image), columns, transpose_y=True)  # [B, C, H, W]


def _filter_matrix(length: int, new_length: int) -> np.ndarray:
    """Weights of the pixels of a row in each of its new pixels, [new_length, length] float32."""
    scale = length / new_length
    widening = max(scale, 1.0)
    centers = (np.arange(new_length) + 0.5) * scale
    distances = (np.arange(length) + 0.5 - centers[:, None]) / widening
    weights = _cubic(np.abs(distances))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """Keys' piecewise cubic of distances x >= 0."""
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
