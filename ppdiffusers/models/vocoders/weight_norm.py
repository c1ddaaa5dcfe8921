"""Convolutions with weight normalization (Salimans & Kingma 2016, https://arxiv.org/abs/1602.07868)."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import nn


class WeightNorm(nn.Layer):
    """A layer whose weight is g * v / |v| (eq. 2), with the norm over all axes but the first, and a bias.

    The parameters are those of the checkpoints, `weight_g` and `weight_v`, so that conversion is exact both ways.

    Args:
        shape: of the weight.
        out_channels: of the bias.
        normalize: False for files whose normalization was folded: one parameter `weight`.
    """

    def __init__(self, shape: Sequence[int], out_channels: int, normalize: bool = True):
        super().__init__()
        self.normalize = normalize
        if normalize:
            self.weight_g = self.create_parameter([shape[0], *[1] * (len(shape) - 1)])
            self.weight_v = self.create_parameter(list(shape))
        else:
            self.weight = self.create_parameter(list(shape))
        self.bias = self.create_parameter([out_channels], is_bias=True)

    def _weight(self) -> paddle.Tensor:
        return normalized(self.weight_v, self.weight_g) if self.normalize else self.weight


class WeightNormConv1D(WeightNorm):
    """A 1D convolution that keeps the length; the norm is that of each output channel."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1, normalize: bool = True
    ):
        super().__init__([out_channels, in_channels, kernel_size], out_channels, normalize)
        self.dilation, self.padding = dilation, dilation * (kernel_size - 1) // 2

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, L] -> [B, O, L]
        return F.conv1d(x, self._weight(), self.bias, padding=self.padding, dilation=self.dilation)


class WeightNormConv1DTranspose(WeightNorm):
    """A transposed 1D convolution; the norm is that of each input channel."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int, normalize: bool = True
    ):
        super().__init__([in_channels, out_channels, kernel_size], out_channels, normalize)
        self.stride, self.padding = stride, padding

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, L] -> [B, O, L * stride]
        return F.conv1d_transpose(x, self._weight(), self.bias, stride=self.stride, padding=self.padding)


class WeightNormConv2DTranspose(WeightNorm):
    """A transposed 2D convolution from one channel to one channel.

    It upsamples the second of the two axes by `stride`.
    """

    def __init__(self, kernel_size: tuple[int, int], stride: int, padding: tuple[int, int]):
        super().__init__([1, 1, *kernel_size], 1)
        self.stride, self.padding = [1, stride], list(padding)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, 1, M, L] -> [B, 1, M, L * stride]
        return F.conv2d_transpose(x, self._weight(), self.bias, stride=self.stride, padding=self.padding)


def normalized(v: paddle.Tensor, g: paddle.Tensor) -> paddle.Tensor:
    """Return g * v / |v|, with the norm over all axes but the first."""
    norm = (v**2).sum(axis=list(range(1, v.ndim)), keepdim=True).sqrt()
    return v * (g / norm)
