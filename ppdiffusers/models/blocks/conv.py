"""Convolution over images."""

from __future__ import annotations

import paddle
from paddle import nn

from ppdiffusers.runtime.kernels.convolution import conv2d


class Conv2D(nn.Conv2D):
    """`nn.Conv2D` with square kernels, computed by the kernel that suits the device."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias_attr: bool | paddle.ParamAttr | None = None,
        weight_attr: paddle.ParamAttr | None = None,
    ):
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, weight_attr=weight_attr, bias_attr=bias_attr
        )
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, H, W] -> [B, O, H', W']
        return conv2d(x, self.weight, self.bias, self.stride, self.padding)
