"""Blocks of the UNet for trajectories and its value function (Diffuser, Janner et al., arXiv 2205.09991).

All residual blocks read the time embedding. Down blocks return their result, and what it was
before downsampling as skip connection.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import FrozenDict
from ppdiffusers.core.errors import InputError
from ppdiffusers.models.blocks.activations import get_activation

_GROUPS = 8  # of each GroupNorm: all widths are multiples of it


class Conv1dBlock(nn.Layer):
    """Convolution, GroupNorm and Mish: [B, in, L] -> [B, out, L]."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 5):
        super().__init__()
        self.conv1d = nn.Conv1D(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.group_norm = nn.GroupNorm(_GROUPS, out_channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return F.mish(self.group_norm(self.conv1d(x)))


class ResidualTemporalBlock1D(nn.Layer):
    """Two convolutions with the time embedding between them; plus the input."""

    def __init__(self, in_channels: int, out_channels: int, embed_dim: int):
        super().__init__()
        self.conv_in = Conv1dBlock(in_channels, out_channels)
        self.conv_out = Conv1dBlock(out_channels, out_channels)
        self.time_emb = nn.Linear(embed_dim, out_channels)
        self.residual_conv = None
        if in_channels != out_channels:
            self.residual_conv = nn.Conv1D(in_channels, out_channels, 1)

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:  # [B, C, L], [B, T]
        residual = x if self.residual_conv is None else self.residual_conv(x)
        time = self.time_emb(F.mish(temb)).unsqueeze(-1)  # [B, out, 1]
        return self.conv_out(self.conv_in(x) + time) + residual


def _chain(in_channels: int, out_channels: int, embed_dim: int, num_layers: int) -> nn.LayerList:
    """Create one residual block, and `num_layers` more at the same width."""
    widths = [in_channels, *[out_channels] * (num_layers + 1)]
    return nn.LayerList([ResidualTemporalBlock1D(a, b, embed_dim) for a, b in zip(widths, widths[1:])])


class Downsample1D(nn.Layer):
    """Convolution with stride two: [B, C, L] -> [B, C, (L + 1) // 2]."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv1D(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(x)


class Upsample1D(nn.Layer):
    """Transposed convolution with stride two: [B, C, L] -> [B, C, 2 L]."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv1DTranspose(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.conv(x)


class DownResnetBlock1D(nn.Layer):
    """Residual blocks, then an optional downsampling."""

    def __init__(self, in_channels: int, out_channels: int, embed_dim: int, num_layers: int, add_downsample: bool):
        super().__init__()
        self.resnets = _chain(in_channels, out_channels, embed_dim, num_layers)
        self.downsample = Downsample1D(out_channels) if add_downsample else None

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        for resnet in self.resnets:
            x = resnet(x, temb)
        return (x if self.downsample is None else self.downsample(x)), x


class UpResnetBlock1D(nn.Layer):
    """Residual blocks over the input and its skip connection, then an optional upsampling."""

    def __init__(self, in_channels: int, out_channels: int, embed_dim: int, num_layers: int, add_upsample: bool):
        super().__init__()
        self.resnets = _chain(2 * in_channels, out_channels, embed_dim, num_layers)
        self.upsample = Upsample1D(out_channels) if add_upsample else None

    def forward(self, x: paddle.Tensor, skip: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:
        x = paddle.concat([x, skip], axis=1)
        for resnet in self.resnets:
            x = resnet(x, temb)
        return x if self.upsample is None else self.upsample(x)


class MidResTemporalBlock1D(nn.Layer):
    """Residual blocks, then an optional downsampling."""

    def __init__(self, channels: int, embed_dim: int, num_layers: int, add_downsample: bool):
        super().__init__()
        self.resnets = _chain(channels, channels, embed_dim, num_layers)
        self.downsample = Downsample1D(channels) if add_downsample else None

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:
        for resnet in self.resnets:
            x = resnet(x, temb)
        return x if self.downsample is None else self.downsample(x)


class ValueFunctionMidBlock1D(nn.Layer):
    """Two residual blocks that halve channels and length: [B, C, L] -> [B, C / 4, L / 4]."""

    def __init__(self, channels: int, embed_dim: int):
        super().__init__()
        self.res1 = ResidualTemporalBlock1D(channels, channels // 2, embed_dim)
        self.down1 = Downsample1D(channels // 2)
        self.res2 = ResidualTemporalBlock1D(channels // 2, channels // 4, embed_dim)
        self.down2 = Downsample1D(channels // 4)

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:
        x = self.down1(self.res1(x, temb))
        return self.down2(self.res2(x, temb))


class OutConv1DBlock(nn.Layer):
    """Last convolutions: [B, C, L] -> [B, out_channels, L]."""

    def __init__(self, channels: int, out_channels: int, num_groups: int, act_fn: str):
        super().__init__()
        self.final_conv1d_1 = nn.Conv1D(channels, channels, 5, padding=2)
        self.final_conv1d_gn = nn.GroupNorm(num_groups, channels)
        self.final_conv1d_act = get_activation(act_fn)
        self.final_conv1d_2 = nn.Conv1D(channels, out_channels, 1)

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:
        return self.final_conv1d_2(self.final_conv1d_act(self.final_conv1d_gn(self.final_conv1d_1(x))))


class OutValueFunctionBlock(nn.Layer):
    """Value of a trajectory, from all its features and the time embedding: [B, C, L] -> [B, 1]."""

    def __init__(self, features: int, embed_dim: int, act_fn: str):
        super().__init__()
        self.features = features
        self.final_block = nn.LayerList(
            [nn.Linear(features + embed_dim, features // 2), get_activation(act_fn), nn.Linear(features // 2, 1)]
        )

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:
        if x.shape[1] * x.shape[2] != self.features:
            raise InputError(
                f"The blocks before the value function give {x.shape[1]} x {x.shape[2]} features.",
                expected=f"{self.features}",
                remedy="Give samples of the length that the network was trained with.",
            )
        x = paddle.concat([x.flatten(1), temb], axis=-1)
        for layer in self.final_block:
            x = layer(x)
        return x


# -- configurations ------------------------------------------------------------------------------------------------

_DOWN, _UP, _VALUE = "DownResnetBlock1D", "UpResnetBlock1D", "ValueFunctionMidBlock1D"
MIDDLE_BLOCKS = ("MidResTemporalBlock1D", _VALUE)


def problems_of(config: FrozenDict) -> list[str]:
    """Return a sentence for each setting that these blocks do not support."""
    levels, ups = len(config.block_out_channels), len(config.up_block_types)
    problems = [f"unknown down block {name!r}" for name in config.down_block_types if name != _DOWN]
    problems += [f"unknown up block {name!r}" for name in config.up_block_types if name != _UP]
    if ups not in (0, levels - 1, levels):
        problems.append(f"up_block_types has {ups} entries; {levels} levels have {levels - 1}, {levels} or none")
    if ups and config.downsample_each_block:
        problems.append("downsample_each_block is True, which a network with up blocks does not support")
    if ups and config.mid_block_type == _VALUE:
        problems.append(f"{_VALUE} is followed by up blocks; a value function has none")
    if config.out_block_type == "ValueFunction" and config.mid_block_type != _VALUE:
        problems.append(f"out_block_type is 'ValueFunction', which requires mid_block_type {_VALUE!r}")
    if config.out_block_type == "OutConv1DBlock" and not ups:
        problems.append("out_block_type is 'OutConv1DBlock', which requires up blocks")
    if not config.use_timestep_embedding:
        problems.append("use_timestep_embedding is False, these blocks read the embedding")
    multiple = 4 * _GROUPS if config.mid_block_type == _VALUE else _GROUPS
    wrong = [width for width in config.block_out_channels if width % _GROUPS]
    wrong += [config.out_channels] if ups and config.out_block_type is None and config.out_channels % _GROUPS else []
    wrong += [config.block_out_channels[-1]] if config.block_out_channels[-1] % multiple else []
    return problems + [f"{width} channels cannot be divided into groups for GroupNorm" for width in wrong]


def known_block_types() -> str:
    """Return the names of all blocks, for messages."""
    return f"down blocks: {_DOWN}; middle blocks: {', '.join(MIDDLE_BLOCKS)}; up blocks: {_UP}"


def get_down_blocks(config: FrozenDict) -> list[DownResnetBlock1D]:
    """Create the down blocks; the last one keeps the length unless `downsample_each_block`."""
    widths = [config.in_channels + config.extra_in_channels, *config.block_out_channels]
    last = len(widths) - 2
    return [
        DownResnetBlock1D(before, after, widths[1], config.layers_per_block, n < last or config.downsample_each_block)
        for n, (before, after) in enumerate(zip(widths, widths[1:]))
    ]


def get_mid_block(config: FrozenDict) -> nn.Layer:
    """Create the middle block."""
    first, last = config.block_out_channels[0], config.block_out_channels[-1]
    if config.mid_block_type == _VALUE:
        return ValueFunctionMidBlock1D(last, first)
    return MidResTemporalBlock1D(last, first, config.layers_per_block, config.downsample_each_block)


def get_up_blocks(config: FrozenDict) -> list[UpResnetBlock1D]:
    """Create the up blocks; one at the first level keeps the length."""
    levels, ups = len(config.block_out_channels), len(config.up_block_types)
    first = config.block_out_channels[0]
    end = config.out_channels if config.out_block_type is None else first
    widths = [*reversed(config.block_out_channels)][:ups] + [end]
    return [
        UpResnetBlock1D(before, after, first, config.layers_per_block, add_upsample=n < levels - 1)
        for n, (before, after) in enumerate(zip(widths, widths[1:]))
    ]


def get_out_block(config: FrozenDict) -> nn.Layer | None:
    """Create the block after the up blocks, if the configuration has one."""
    first = config.block_out_channels[0]
    if config.out_block_type == "OutConv1DBlock":
        groups = config.norm_num_groups or min(first // 4, 32)
        return OutConv1DBlock(first, config.out_channels, groups, config.act_fn)
    if config.out_block_type == "ValueFunction":
        return OutValueFunctionBlock(config.block_out_channels[-1] // 4, first, config.act_fn)
    return None
