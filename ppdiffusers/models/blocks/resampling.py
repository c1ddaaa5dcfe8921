"""Upsampling and downsampling: with convolutions, by pooling, and with FIR filters (StyleGAN 2, score SDE)."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.models.blocks.conv import Conv2D

FIR_KERNEL = (1, 3, 3, 1)


def repeat_pixels(x: paddle.Tensor, factor: int = 2) -> paddle.Tensor:
    """Upsample by nearest neighbor: [B, C, H, W] -> [B, C, factor * H, factor * W].

    It expands instead of interpolating, which oneDNN programs do not support.
    """
    batch, channels, height, width = x.shape
    x = x.reshape([batch, channels, height, 1, width, 1]).expand([batch, channels, height, factor, width, factor])
    return x.reshape([batch, channels, factor * height, factor * width])


def resize_nearest(x: paddle.Tensor, size: tuple[int, int]) -> paddle.Tensor:
    """Resize by nearest neighbor: [B, C, H, W] -> [B, C, *size]. Pixel i of n is pixel floor(i * H / n) of H."""
    for axis, target in zip((2, 3), size):
        index = np.arange(target, dtype=np.int64) * x.shape[axis] // target
        x = paddle.index_select(x, paddle.to_tensor(index), axis=axis)
    return x


class Upsample2D(nn.Layer):
    """Nearest-neighbor upsampling and an optional 3x3 convolution.

    Args:
        channels: channels of the input.
        use_conv: whether there is a convolution.
        out_channels: channels of its result; by default `channels`.
        name: name of the convolution among the sublayers.
    """

    def __init__(
        self,
        channels: int,
        use_conv: bool = False,
        out_channels: int | None = None,
        name: str = "conv",
    ):
        super().__init__()
        self.conv_name = name if use_conv else None
        if use_conv:
            self.add_sublayer(name, Conv2D(channels, out_channels or channels, 3, padding=1))

    def forward(self, x: paddle.Tensor, output_size: tuple[int, int] | None = None) -> paddle.Tensor:
        """Upsample [B, C, H, W] to `output_size`, by default (2H, 2W)."""
        height, width = x.shape[2:]
        if output_size is None or tuple(output_size) == (2 * height, 2 * width):
            x = repeat_pixels(x)
        else:
            x = resize_nearest(x, output_size)
        return x if self.conv_name is None else getattr(self, self.conv_name)(x)


class Downsample2D(nn.Layer):
    """Downsampling by two, with a 3x3 convolution of stride 2 or by average pooling.

    Args:
        channels: channels of the input.
        use_conv: convolution instead of pooling.
        out_channels: channels of the convolution's result; by default `channels`.
        padding: of the convolution; 0 pads the right and bottom border only, as the VAEs of latent diffusion do.
    """

    def __init__(self, channels: int, use_conv: bool = False, out_channels: int | None = None, padding: int = 1):
        super().__init__()
        self.pad_right_and_bottom = use_conv and padding == 0
        self.conv = None
        if use_conv:
            self.conv = Conv2D(channels, out_channels or channels, 3, stride=2, padding=padding)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, H, W] -> [B, C', H/2, W/2]
        if self.conv is None:
            return F.avg_pool2d(x, kernel_size=2, stride=2)
        return self.conv(F.pad(x, [0, 1, 0, 1]) if self.pad_right_and_bottom else x)


def fir_filter(x: paddle.Tensor, gain: float, up: int, down: int, pad: tuple[int, int]) -> paddle.Tensor:
    """Insert zeros, pad, convolve each channel with the normalized FIR kernel, and subsample.

    StyleGAN 2's `upfirdn2d` (arXiv 1912.04958).

    Args:
        x: [B, C, H, W].
        gain: factor of the kernel.
        up: `up - 1` zeros follow each pixel.
        down: each `down`-th pixel of the result is kept.
        pad: zeros before and after, along both axes.
    """
    line = np.asarray(FIR_KERNEL, dtype=np.float32)
    kernel = np.outer(line, line)
    kernel = kernel / kernel.sum() * gain
    batch, channels, height, width = x.shape
    x = x.reshape([batch * channels, 1, height, width])
    if up > 1:
        x = _insert_zeros(x, up)
    x = F.pad(x, [pad[0], pad[1], pad[0], pad[1]])
    flipped = paddle.to_tensor(np.ascontiguousarray(kernel[::-1, ::-1])[None, None]).astype(x.dtype)
    x = F.conv2d(x, flipped)
    x = x[:, :, ::down, ::down] if down > 1 else x
    return x.reshape([batch, channels, *x.shape[2:]])


def _insert_zeros(x: paddle.Tensor, up: int) -> paddle.Tensor:
    """Append `up - 1` zeros to each pixel along both axes: [R, 1, H, W] -> [R, 1, up*H, up*W]."""
    rows, _, height, width = x.shape
    x = F.pad(x.reshape([rows, height, 1, width, 1]), [0, up - 1, 0, 0, 0, up - 1])  # [R, H, up, W, up]
    return x.reshape([rows, 1, height * up, width * up])


def fir_upsample(x: paddle.Tensor, factor: int = 2) -> paddle.Tensor:
    """Upsample with the FIR filter: [B, C, H, W] -> [B, C, factor*H, factor*W]."""
    pad = len(FIR_KERNEL) - factor
    return fir_filter(x, factor**2, up=factor, down=1, pad=((pad + 1) // 2 + factor - 1, pad // 2))


def fir_downsample(x: paddle.Tensor, factor: int = 2) -> paddle.Tensor:
    """Downsample with the FIR filter: [B, C, H, W] -> [B, C, H/factor, W/factor]."""
    pad = len(FIR_KERNEL) - factor
    return fir_filter(x, 1.0, up=1, down=factor, pad=((pad + 1) // 2, pad // 2))


class KDownsample2D(nn.Layer):
    """Downsampling by two with the FIR filter and mirrored borders (k-diffusion)."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, H, W] -> [B, C, H/2, W/2]
        return fir_filter(F.pad(x, [1, 1, 1, 1], mode="reflect"), 1.0, up=1, down=2, pad=(0, 0))


class KUpsample2D(nn.Layer):
    """Upsampling by two with the FIR filter and mirrored borders (k-diffusion)."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, H, W] -> [B, C, 2H, 2W]
        doubled = fir_filter(F.pad(x, [1, 1, 1, 1], mode="reflect"), 4.0, up=2, down=1, pad=(0, 0))
        return doubled[:, :, :-1, :-1]  # without the results of the zero after the last pixel
