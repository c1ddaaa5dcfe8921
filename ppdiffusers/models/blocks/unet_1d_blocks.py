"""Blocks of the UNet for audio (Dance Diffusion).

A block is a chain of three residual convolutions (six in the middle block), each with an optional attention. Down
blocks halve the length before the chain, up blocks double it after the chain. The tables `_DOWN` and `_UP` list the
names of configurations.
"""

from __future__ import annotations

from dataclasses import dataclass

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.runtime.kernels.attention import scaled_dot_product_attention

# First half of a symmetric cubic low-pass filter.
_CUBIC = (-0.01171875, -0.03515625, 0.11328125, 0.43359375)
_HEAD_DIM = 32


class _Filter1d(nn.Layer):
    """Base of the layers that resample with the cubic filter; borders are mirrored."""

    def __init__(self, gain: float):
        super().__init__()
        kernel = [gain * weight for weight in (*_CUBIC, *reversed(_CUBIC))]
        self.register_buffer("kernel", paddle.to_tensor(kernel, dtype="float32"))
        self.pad = len(kernel) // 2 - 1

    def _fold_channels(self, x: paddle.Tensor, pad: int) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Pad, and fold the channels into the batch: [B * C, 1, L + 2 pad]. Returns the filter [1, 1, K], too."""
        x = F.pad(x, [pad, pad], mode="reflect", data_format="NCL")
        return x.reshape([-1, 1, x.shape[2]]), self.kernel.astype(x.dtype).reshape([1, 1, -1])


class Downsample1d(_Filter1d):
    """Downsampling by two: [B, C, L] -> [B, C, L / 2]."""

    def __init__(self) -> None:
        super().__init__(gain=1.0)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        batch, channels, _ = x.shape
        x, kernel = self._fold_channels(x, self.pad)
        x = F.conv1d(x, kernel, stride=2)
        return x.reshape([batch, channels, x.shape[2]])


class Upsample1d(_Filter1d):
    """Upsampling by two: [B, C, L] -> [B, C, 2 L]. The gain is 2 because every other input of the filter is zero."""

    def __init__(self) -> None:
        super().__init__(gain=2.0)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        batch, channels, _ = x.shape
        x, kernel = self._fold_channels(x, (self.pad + 1) // 2)
        x = F.conv1d_transpose(x, kernel, stride=2, padding=2 * self.pad + 1)
        return x.reshape([batch, channels, x.shape[2]])


class SelfAttention1d(nn.Layer):
    """Multi-head self-attention over the samples of a waveform, added to its input."""

    def __init__(self, channels: int):
        super().__init__()
        self.num_heads = channels // _HEAD_DIM
        self.group_norm = nn.GroupNorm(1, channels)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.proj_attn = nn.Linear(channels, channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, L]
        tokens = self.group_norm(x).transpose([0, 2, 1])  # [B, L, C]
        query, key, value = (self._split_heads(part(tokens)) for part in (self.query, self.key, self.value))
        attended = scaled_dot_product_attention(query, key, value)  # [B, heads, L, C / heads]
        tokens = self.proj_attn(attended.transpose([0, 2, 1, 3]).flatten(2))  # [B, L, C]
        return x + tokens.transpose([0, 2, 1])

    def _split_heads(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, L, C] -> [B, heads, L, C / heads]
        batch, length, channels = x.shape
        return x.reshape([batch, length, self.num_heads, channels // self.num_heads]).transpose([0, 2, 1, 3])


class ResConvBlock(nn.Layer):
    """Two times convolution, GroupNorm and GELU; plus the input.

    Args:
        is_last: whether this is the last block of a network, which has no second norm and activation.
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, is_last: bool = False):
        super().__init__()
        self.conv_skip = None
        if in_channels != out_channels:
            self.conv_skip = nn.Conv1D(in_channels, out_channels, 1, bias_attr=False)
        self.conv_1 = nn.Conv1D(in_channels, mid_channels, 5, padding=2)
        self.group_norm_1 = nn.GroupNorm(1, mid_channels)
        self.conv_2 = nn.Conv1D(mid_channels, out_channels, 5, padding=2)
        self.group_norm_2 = None if is_last else nn.GroupNorm(1, out_channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, L]
        residual = x if self.conv_skip is None else self.conv_skip(x)
        x = self.conv_2(F.gelu(self.group_norm_1(self.conv_1(x))))
        if self.group_norm_2 is not None:
            x = F.gelu(self.group_norm_2(x))
        return x + residual


class Block1D(nn.Layer):
    """A chain of residual convolutions and attentions, with optional resampling before or after it.

    Args:
        widths: channels before, between and after the residual convolutions.
        attend: whether attention follows each residual convolution.
        down: halve the length before the chain.
        up: double the length after the chain.
        is_last: whether this is the last block of the network.
        mid_channels: channels inside the residual convolutions; by default those of their results.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        attend: bool = False,
        down: bool = False,
        up: bool = False,
        is_last: bool = False,
        mid_channels: int | None = None,
    ):
        super().__init__()
        pairs = list(zip(widths, widths[1:]))
        self.down = Downsample1d() if down else None
        self.resnets = nn.LayerList(
            [
                ResConvBlock(before, mid_channels or after, after, is_last and n == len(pairs) - 1)
                for n, (before, after) in enumerate(pairs)
            ]
        )
        self.has_attention = attend
        if attend:
            self.attentions = nn.LayerList([SelfAttention1d(after) for _, after in pairs])
        self.up = Upsample1d() if up else None

    def forward(self, x: paddle.Tensor, extra: paddle.Tensor | None = None) -> paddle.Tensor:
        """Transform [B, C, L].

        Args:
            extra: [B, C', L], channels that are appended to the input: time features or a skip connection.
        """
        if extra is not None:
            x = paddle.concat([x, extra], axis=1)
        if self.down is not None:
            x = self.down(x)
        for n, resnet in enumerate(self.resnets):
            x = resnet(x)
            if self.has_attention:
                x = self.attentions[n](x)
        return x if self.up is None else self.up(x)


# -- configuration names -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """The parts of a block; with `time`, it reads the time features in addition to its input."""

    attend: bool = False
    resample: bool = True
    time: bool = False


_DOWN = {
    "DownBlock1D": _Kind(),
    "AttnDownBlock1D": _Kind(attend=True),
    "DownBlock1DNoSkip": _Kind(resample=False, time=True),
}
_UP = {
    "UpBlock1D": _Kind(),
    "AttnUpBlock1D": _Kind(attend=True),
    "UpBlock1DNoSkip": _Kind(resample=False),
}
_MID = "UNetMidBlock1D"


def check_block_types(down: tuple[str, ...], mid: str, up: tuple[str, ...]) -> list[str]:
    """Return a sentence for each unknown name."""
    problems = [f"unknown down block {name!r}" for name in down if name not in _DOWN]
    problems += [] if mid == _MID else [f"unknown middle block {mid!r}"]
    return problems + [f"unknown up block {name!r}" for name in up if name not in _UP]


def known_block_types() -> str:
    """Return the names of all blocks, for messages."""
    return f"down blocks: {', '.join(_DOWN)}; middle block: {_MID}; up blocks: {', '.join(_UP)}"


def reads_time(block_type: str) -> bool:
    """Return whether a down block reads the time features."""
    return _DOWN[block_type].time


def get_down_block(block_type: str, in_channels: int, out_channels: int) -> Block1D:
    """Create the down block that configurations call `block_type`."""
    kind = _DOWN[block_type]
    return Block1D((in_channels, *[out_channels] * 3), attend=kind.attend, down=kind.resample)


def get_mid_block(channels: int) -> Block1D:
    """Create the middle block: six residual convolutions with attention, at half the length."""
    return Block1D((channels,) * 7, attend=True, down=True, up=True)


def get_up_block(block_type: str, in_channels: int, out_channels: int) -> Block1D:
    """Create the up block that configurations call `block_type`; its skip connection has `in_channels`, too."""
    kind = _UP[block_type]
    mid = out_channels if kind.attend else in_channels
    widths = (2 * in_channels, mid, mid, out_channels)
    last = not kind.resample
    return Block1D(widths, attend=kind.attend, up=kind.resample, is_last=last, mid_channels=mid)


def check_heads(**widths: int) -> None:
    """Check that widths divide into attention heads of 32 channels.

    Raises:
        ConfigError: a width is not a multiple of 32.
    """
    problems = [f"{name} has attention over {width} channels" for name, width in widths.items() if width % _HEAD_DIM]
    if problems:
        raise ConfigError("This UNet1DModel cannot be built.", problems=problems, expected=f"multiples of {_HEAD_DIM}")
