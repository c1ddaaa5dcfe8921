"""Layers over short vectors in the place of pictures: [B, C, 4, 1] (Versatile Diffusion, arXiv 2211.08332)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
from paddle import nn

from ppdiffusers.models.blocks.resnet import ResnetBlock2D

# each channel holds so many numbers
SECOND_DIM = 4


def flat_shape(channels: int | Sequence[int]) -> list[int]:
    """The shape of one vector: [channels, 4, 1], or the one that is given."""
    return [channels, SECOND_DIM, 1] if isinstance(channels, int) else list(channels)


class LinearMultiDim(nn.Linear):
    """A linear layer from all numbers of [B, *in_shape] to all of [B, *out_shape].

    Args:
        in_features, out_features: a shape, or the channels C of [C, 4, 1].
    """

    def __init__(self, in_features: int | Sequence[int], out_features: int | Sequence[int]):
        out_shape = flat_shape(out_features)
        super().__init__(math.prod(flat_shape(in_features)), math.prod(out_shape))
        self.out_shape = out_shape

    def forward(self, x: paddle.Tensor, output_size: tuple[int, int] | None = None) -> paddle.Tensor:
        """`output_size` has no effect: vectors are all of one size."""
        return super().forward(x.flatten(1)).reshape([x.shape[0], *self.out_shape])


class ResnetBlockFlat(ResnetBlock2D):
    """The residual block over [B, C, 4, 1], all of whose numbers are channels: its convolutions are 1x1."""

    def __init__(self, *, in_channels: int, out_channels: int, **settings: object):
        super().__init__(
            in_channels=in_channels * SECOND_DIM, out_channels=out_channels * SECOND_DIM, conv_size=1, **settings
        )

    def forward(self, input_tensor: paddle.Tensor, temb: paddle.Tensor | None = None) -> paddle.Tensor:
        batch = input_tensor.shape[0]
        output = super().forward(input_tensor.reshape([batch, -1, 1, 1]), temb)  # [B, 4 * out_channels, 1, 1]
        return output.reshape([batch, -1, SECOND_DIM, 1])
