"""Doubling and halving pictures: with convolutions, by pooling, and with FIR filters (StyleGAN 2, score SDE)."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.models.blocks.conv import Conv2D

FIR_KERNEL = (1, 3, 3, 1)


def repeat_pixels(x: paddle.Tensor) -> paddle.Tensor:
    """Nearest-neighbour doubling by expanding: [B, C, H, W] -> [B, C, 2H, 2W]. oneDNN programs cannot interpolate."""
    batch, channels, height, width = x.shape
    x = x.reshape([batch, channels, height, 1, width, 1]).expand([batch, channels, height, 2, width, 2])
    return x.reshape([batch, channels, 2 * height, 2 * width])


def pick_nearest(x: paddle.Tensor, size: tuple[int, int]) -> paddle.Tensor:
    """Nearest-neighbour resizing [B, C, H, W] -> [B, C, *size]: pixel i of n is pixel floor(i * H / n) of H."""
    for axis, wanted in zip((2, 3), size):
        index = np.arange(wanted, dtype=np.int64) * x.shape[axis] // wanted
        x = paddle.index_select(x, paddle.to_tensor(index), axis=axis)
    return x


class Upsample2D(nn.Layer):
    """Nearest-neighbour doubling (or to `output_size`), then an optional 3x3 convolution."""

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
        height, width = x.shape[2:]
        if output_size is None or tuple(output_size) == (2 * height, 2 * width):
            x = repeat_pixels(x)
        else:
            x = pick_nearest(x, output_size)
        return x if self.conv_name is None else getattr(self, self.conv_name)(x)


class Downsample2D(nn.Layer):
    """Halving by a 3x3 convolution of stride 2, or by averaging 2x2.

    `padding=0` pads right and below only, as the VAEs of latent diffusion do.
    """

    def __init__(self, channels: int, use_conv: bool = False, out_channels: int | None = None, padding: int = 1):
        super().__init__()
        self.pad_after = use_conv and padding == 0
        self.conv = None
        if use_conv:
            self.conv = Conv2D(channels, out_channels or channels, 3, stride=2, padding=padding)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.conv is None:
            return F.avg_pool2d(x, kernel_size=2, stride=2)
        return self.conv(F.pad(x, [0, 1, 0, 1]) if self.pad_after else x)


def fir_filter(x: paddle.Tensor, gain: float, up: int, down: int, pad: tuple[int, int]) -> paddle.Tensor:
    """Insert zeros (`up`), pad, convolve every channel with the normalised 2-D FIR kernel, keep every `down`-th pixel.

    StyleGAN 2's `upfirdn2d` (arXiv 1912.04958); x: [B, C, H, W].
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
    """[R, 1, H, W] -> [R, 1, up*H, up*W], every pixel followed by `up - 1` zeros along both axes."""
    rows, _, height, width = x.shape
    spread = F.pad(x.reshape([rows, height, 1, width, 1]), [0, up - 1, 0, 0, 0, up - 1])  # [R, H, up, W, up]
    return spread.reshape([rows, 1, height * up, width * up])


def fir_upsample(x: paddle.Tensor, factor: int = 2) -> paddle.Tensor:
    """Double a picture with the FIR filter."""
    pad = len(FIR_KERNEL) - factor
    return fir_filter(x, factor**2, up=factor, down=1, pad=((pad + 1) // 2 + factor - 1, pad // 2))


def fir_downsample(x: paddle.Tensor, factor: int = 2) -> paddle.Tensor:
    """Halve a picture with the FIR filter."""
    pad = len(FIR_KERNEL) - factor
    return fir_filter(x, 1.0, up=1, down=factor, pad=((pad + 1) // 2, pad // 2))


class KDownsample2D(nn.Layer):
    """Halving with the FIR filter, the border mirrored (k-diffusion)."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return fir_filter(F.pad(x, [1, 1, 1, 1], mode="reflect"), 1.0, up=1, down=2, pad=(0, 0))


class KUpsample2D(nn.Layer):
    """Doubling with the FIR filter, the border mirrored (k-diffusion)."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        # the zero that is inserted after the last pixel belongs to no pixel of the result
        doubled = fir_filter(F.pad(x, [1, 1, 1, 1], mode="reflect"), 4.0, up=2, down=1, pad=(0, 0))
        return doubled[:, :, :-1, :-1]
