"""Convolutions with weight normalization (Salimans & Kingma 2016, https://arxiv.org/abs/1602.07868)."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn


class WeightNormConv1D(nn.Layer):
    """A 1D convolution whose weight is g * v / |v| (eq. 2), with the norm of each output channel.

    The parameters are those of the checkpoints, `weight_g` and `weight_v`, so that conversion is exact both ways.

    Args:
        normalize: False for files whose normalization was folded: one parameter `weight`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1, normalize: bool = True
    ):
        super().__init__()
        shape = [out_channels, in_channels, kernel_size]
        self.dilation, self.padding = dilation, dilation * (kernel_size - 1) // 2
        self.normalize = normalize
        if normalize:
            self.weight_g = self.create_parameter([out_channels, 1, 1])
            self.weight_v = self.create_parameter(shape)
        else:
            self.weight = self.create_parameter(shape)
        self.bias = self.create_parameter([out_channels], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, L] -> [B, O, L]
        return F.conv1d(x, self._weight(), self.bias, padding=self.padding, dilation=self.dilation)

    def _weight(self) -> paddle.Tensor:  # [O, C, K]
        return normalized(self.weight_v, self.weight_g) if self.normalize else self.weight


class WeightNormConv1DTranspose(nn.Layer):
    """A transposed 1D convolution with the same parameters; the norm is that of each input channel."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int, normalize: bool = True
    ):
        super().__init__()
        shape = [in_channels, out_channels, kernel_size]
        self.stride, self.padding, self.normalize = stride, padding, normalize
        if normalize:
            self.weight_g = self.create_parameter([in_channels, 1, 1])
            self.weight_v = self.create_parameter(shape)
        else:
            self.weight = self.create_parameter(shape)
        self.bias = self.create_parameter([out_channels], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, L] -> [B, O, L * stride]
        weight = normalized(self.weight_v, self.weight_g) if self.normalize else self.weight  # [C, O, K]
        return F.conv1d_transpose(x, weight, self.bias, stride=self.stride, padding=self.padding)


class WeightNormConv2DTranspose(nn.Layer):
    """A transposed 2D convolution from one channel to one channel, with the same parameters.

    It upsamples the second of the two axes by `stride`.
    """

    def __init__(self, kernel_size: tuple[int, int], stride: int, padding: tuple[int, int]):
        super().__init__()
        self.stride, self.padding = [1, stride], list(padding)
        self.weight_g = self.create_parameter([1, 1, 1, 1])
        self.weight_v = self.create_parameter([1, 1, *kernel_size])
        self.bias = self.create_parameter([1], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, 1, M, L] -> [B, 1, M, L * stride]
        weight = normalized(self.weight_v, self.weight_g)
        return F.conv2d_transpose(x, weight, self.bias, stride=self.stride, padding=self.padding)


def normalized(v: paddle.Tensor, g: paddle.Tensor) -> paddle.Tensor:
    """Return g * v / |v|, with the norm over all axes but the first."""
    norm = (v**2).sum(axis=list(range(1, v.ndim)), keepdim=True).sqrt()
    return v * (g / norm)
