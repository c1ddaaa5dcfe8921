"""FreeU (Si et al., "FreeU: Free Lunch in Diffusion U-Net", arXiv 2309.11497): reweight the inputs of up blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle


@dataclass(frozen=True)
class FreeU:
    """The factors of one up block.

    Attributes:
        backbone: b, the factor of the first half of the channels of the features.
        skip: s, the factor of the lowest frequencies of the skip connections.
    """

    backbone: float
    skip: float

    def __call__(self, hidden_states: paddle.Tensor, skip: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Reweight features [B, C, H, W] and the skip connection [B, C', H, W] that is concatenated to them."""
        half = hidden_states.shape[1] // 2
        scaled = [hidden_states[:, :half] * self.backbone, hidden_states[:, half:]]
        return paddle.concat(scaled, axis=1), skip + (self.skip - 1) * low_frequencies(skip)


def apply_freeu(
    resolution_idx: int, hidden_states: paddle.Tensor, res_hidden_states: paddle.Tensor, **freeu_kwargs: float
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Reweight the inputs of up block number `resolution_idx`; diffusers' function.

    Args:
        freeu_kwargs: b1 and s1, the factors of block 0, b2 and s2, those of block 1; other blocks are unchanged.
    """
    if resolution_idx not in (0, 1):
        return hidden_states, res_hidden_states
    factors = FreeU(*(freeu_kwargs[f"{name}{resolution_idx + 1}"] for name in ("b", "s")))
    return factors(hidden_states, res_hidden_states)


def low_frequencies(x: paddle.Tensor) -> paddle.Tensor:
    """Return the part of [B, C, H, W] with the frequencies -1 and 0 along each axis, in the dtype of `x`.

    It is the real part of the discrete Fourier transform that is zero except in a box of two by two frequencies around
    the center of the shifted spectrum. With the angles a = 2 pi (y - y') / H and b = 2 pi (x - x') / W, a value at
    (y', x') contributes to (y, x) with the factor

        Re (1 + exp(-ia)) (1 + exp(-ib)) / HW = ((1 + cos a)(1 + cos b) - sin a sin b) / HW.

    Sines and cosines of differences are products of those of y and y': three by three coefficients for each channel,
    in matrix products that every engine compiles.
    """
    rows, columns = _basis(x.shape[2]), _basis(x.shape[3])  # [3, H], [3, W]
    sines = paddle.to_tensor(_SINE)
    coefficients = paddle.matmul(paddle.matmul(rows, x.astype("float32")), columns, transpose_y=True)  # [B, C, 3, 3]
    product = paddle.matmul(paddle.matmul(sines, coefficients), sines, transpose_y=True)
    low = paddle.matmul(paddle.matmul(rows, coefficients - product, transpose_x=True), columns)  # [B, C, H, W]
    return (low / (x.shape[2] * x.shape[3])).astype(x.dtype)


# sin(p - q) = sin p cos q - cos p sin q, as a product of (1, cos p, sin p) and (1, cos q, sin q)
_SINE = np.asarray([[0, 0, 0], [0, 0, -1], [0, 1, 0]], "float32")


def _basis(size: int) -> paddle.Tensor:
    """Return 1, cosine and sine of 2 pi n / size, [3, size]. An axis of one element has no frequency -1."""
    angles = 2 * np.pi * np.arange(size) / size
    waves = [np.cos(angles), np.sin(angles)] if size > 1 else [np.zeros(1), np.zeros(1)]
    return paddle.to_tensor(np.stack([np.ones(size), *waves]).astype("float32"))
