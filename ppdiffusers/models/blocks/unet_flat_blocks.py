"""Layers over short vectors [B, C, 4, 1] instead of images (Versatile Diffusion, arXiv 2211.08332)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
from paddle import nn

from ppdiffusers.models.blocks.resnet import ResnetBlock2D

# numbers per channel
SECOND_DIM = 4


def flat_shape(channels: int | Sequence[int]) -> list[int]:
    """Return the shape of one vector: [channels, 4, 1], or the given shape."""
    return [channels, SECOND_DIM, 1] if isinstance(channels, int) else list(channels)


class LinearMultiDim(nn.Linear):
    """A linear layer over flattened vectors: [B, *in_features] -> [B, *out_features].

    Args:
        in_features: shape of the input, or the channels C of [C, 4, 1].
        out_features: shape of the output, or the channels C of [C, 4, 1].
    """

    def __init__(self, in_features: int | Sequence[int], out_features: int | Sequence[int]):
        out_shape = flat_shape(out_features)
        super().__init__(math.prod(flat_shape(in_features)), math.prod(out_shape))
        self.out_shape = out_shape

    def forward(self, x: paddle.Tensor, output_size: tuple[int, int] | None = None) -> paddle.Tensor:
        """Apply the layer. `output_size` has no effect; upsampling layers accept it."""
        return super().forward(x.flatten(1)).reshape([x.shape[0], *self.out_shape])


class ResnetBlockFlat(ResnetBlock2D):
    """Residual block over [B, C, 4, 1] whose 4C numbers are all channels, so that its convolutions are 1x1."""

    def __init__(self, *, in_channels: int, out_channels: int, **settings: object):
        super().__init__(
            in_channels=in_channels * SECOND_DIM, out_channels=out_channels * SECOND_DIM, conv_size=1, **settings
        )

    def forward(self, input_tensor: paddle.Tensor, temb: paddle.Tensor | None = None) -> paddle.Tensor:
        batch = input_tensor.shape[0]
        output = super().forward(input_tensor.reshape([batch, -1, 1, 1]), temb)  # [B, 4 * out_channels, 1, 1]
        return output.reshape([batch, -1, SECOND_DIM, 1])
