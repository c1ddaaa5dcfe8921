"""From the block names of configurations to blocks: the tables `_DOWN`, `_MID` and `_UP`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paddle import nn

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.models.blocks.settings import BlockSettings
from ppdiffusers.models.blocks.unet_2d_blocks import (
    CrossAttnDownBlock2D,
    CrossAttnUpBlock2D,
    DownBlock,
    DownBlock2D,
    MidBlock,
    UNetMidBlock2D,
    UNetMidBlock2DCrossAttn,
    UpBlock,
    UpBlock2D,
)
from ppdiffusers.models.blocks.unet_2d_k_blocks import KDownBlock2D, KUpBlock2D
from ppdiffusers.models.blocks.unet_2d_skip_blocks import SkipDownBlock2D, SkipUpBlock2D, up_block_channels


@dataclass(frozen=True)
class _Kind:
    """The parts of a block.

    Attributes:
        attention: method of `BlockSettings` that creates the attention; None for no attention.
        resnet: method of `BlockSettings` that creates the residual blocks.
        resample: "conv" or "resnet"; "config" for the configuration's downsample_type and upsample_type.
        autoencoder: no time embedding; up blocks have no skip connections.
        skip: a block of NCSN++.
        k: a block of k-diffusion.
    """

    attention: str | None = None
    resnet: str = "resnet"
    resample: str = "conv"
    autoencoder: bool = False
    skip: bool = False
    k: bool = False


_DOWN = {
    "DownBlock2D": _Kind(),
    "AttnDownBlock2D": _Kind("self_attention", resample="config"),
    "CrossAttnDownBlock2D": _Kind("transformer"),
    "ResnetDownsampleBlock2D": _Kind(resnet="simple_resnet", resample="resnet"),
    "SimpleCrossAttnDownBlock2D": _Kind("simple_cross_attention", resnet="simple_resnet", resample="resnet"),
    "DownEncoderBlock2D": _Kind(autoencoder=True),
    "AttnDownEncoderBlock2D": _Kind("self_attention", autoencoder=True),
    "SkipDownBlock2D": _Kind(skip=True),
    "AttnSkipDownBlock2D": _Kind("self_attention", skip=True),
    "KDownBlock2D": _Kind(k=True),
    "KCrossAttnDownBlock2D": _Kind("transformer", k=True),
}
_UP = {
    "UpBlock2D": _Kind(),
    "AttnUpBlock2D": _Kind("self_attention", resample="config"),
    "CrossAttnUpBlock2D": _Kind("transformer"),
    "ResnetUpsampleBlock2D": _Kind(resnet="simple_resnet", resample="resnet"),
    "SimpleCrossAttnUpBlock2D": _Kind("simple_cross_attention", resnet="simple_resnet", resample="resnet"),
    "UpDecoderBlock2D": _Kind(autoencoder=True),
    "AttnUpDecoderBlock2D": _Kind("self_attention", autoencoder=True),
    "SkipUpBlock2D": _Kind(skip=True),
    "AttnSkipUpBlock2D": _Kind("self_attention", skip=True),
    "KUpBlock2D": _Kind(k=True),
    "KCrossAttnUpBlock2D": _Kind("transformer", k=True),
}
_MID = {
    "UNetMidBlock2D": _Kind("self_attention"),
    "UNetMidBlock2DCrossAttn": _Kind("transformer"),
    "UNetMidBlock2DSimpleCrossAttn": _Kind("simple_cross_attention", resnet="simple_resnet"),
}
# The classes that scripts know by name; the other kinds are of the base classes.
_NAMED_DOWN = {"DownBlock2D": DownBlock2D, "CrossAttnDownBlock2D": CrossAttnDownBlock2D}
_NAMED_UP = {"UpBlock2D": UpBlock2D, "CrossAttnUpBlock2D": CrossAttnUpBlock2D}
_NAMED_MID = {"UNetMidBlock2D": UNetMidBlock2D, "UNetMidBlock2DCrossAttn": UNetMidBlock2DCrossAttn}
_CROSS_ATTENTION = ("transformer", "simple_cross_attention")


def _bare(block_type: str) -> str:
    """Remove the prefix "UNetRes" of old configurations."""
    return block_type.removeprefix("UNetRes")


def _find(block_type: str, table: dict[str, _Kind]) -> _Kind:
    name = _bare(block_type)
    if name not in table:
        raise ConfigError(f"Unknown block type {block_type!r}.", expected=f"one of {', '.join(table)}")
    return table[name]


def check_block_types(down: Sequence[str], up: Sequence[str]) -> list[str]:
    """Return a sentence for each unknown name."""
    problems = [f"unknown down block {name!r}" for name in down if _bare(name) not in _DOWN]
    return problems + [f"unknown up block {name!r}" for name in up if _bare(name) not in _UP]


def known_block_types() -> str:
    """Return the names of all down and up blocks, for messages."""
    return f"down blocks: {', '.join(_DOWN)}; up blocks: {', '.join(_UP)}"


def has_cross_attention(block_type: str) -> bool:
    """Return whether a down or up block attends to the prompt."""
    return {**_DOWN, **_UP}[_bare(block_type)].attention in _CROSS_ATTENTION


def required_halvings(down_block_types: Sequence[str]) -> int:
    """Return how often height and width must be divisible by two: k-diffusion's up blocks can only double them."""
    return len(down_block_types) - 1 if any(_DOWN[_bare(name)].k for name in down_block_types) else 0


def get_down_block(
    block_type: str,
    settings: BlockSettings,
    *,
    num_layers: int,
    in_channels: int,
    out_channels: int,
    add_downsample: bool,
    downsample_type: str | None = "conv",
) -> nn.Layer:
    """Create the down block that configurations call `block_type`."""
    kind = _find(block_type, _DOWN)
    if kind.skip or kind.k:
        block = SkipDownBlock2D if kind.skip else KDownBlock2D
        return block(settings, in_channels, out_channels, num_layers, add_downsample, kind.attention is not None)
    resnet = getattr(settings, kind.resnet)
    resnets = [resnet(in_channels if n == 0 else out_channels, out_channels) for n in range(num_layers)]
    downsampler = None
    if add_downsample and downsample_type is not None:
        if _resample(kind, downsample_type) == "resnet":
            downsampler = resnet(out_channels, out_channels, down=True)
        else:
            downsampler = settings.downsampler(out_channels)
    block = _NAMED_DOWN.get(_bare(block_type), DownBlock)
    return block(resnets, _attentions(settings, kind, out_channels, num_layers), downsampler)


def get_up_block(
    block_type: str,
    settings: BlockSettings,
    *,
    num_layers: int,
    in_channels: int,
    prev_output_channel: int | None,
    out_channels: int,
    add_upsample: bool,
    upsample_type: str | None = "conv",
) -> nn.Layer:
    """Create the up block that configurations call `block_type`.

    Args:
        in_channels: channels of the last skip connection; in autoencoders, of the input.
        prev_output_channel: channels of the input; None in autoencoders.
    """
    kind = _find(block_type, _UP)
    attend = kind.attention is not None
    if kind.k:
        return KUpBlock2D(settings, in_channels, out_channels, num_layers, add_upsample, attend)
    if kind.skip:
        channels = (in_channels, prev_output_channel, out_channels)
        return SkipUpBlock2D(settings, *channels, num_layers, add_upsample, attend)
    if kind.autoencoder:
        inputs = [in_channels if n == 0 else out_channels for n in range(num_layers)]
    else:
        pairs = up_block_channels(in_channels, prev_output_channel, out_channels, num_layers)
        inputs = [channels + skip for channels, skip in pairs]
    resnet = getattr(settings, kind.resnet)
    upsampler = None
    if add_upsample and upsample_type is not None:
        if _resample(kind, upsample_type) == "resnet":
            upsampler = resnet(out_channels, out_channels, up=True)
        else:
            upsampler = settings.upsampler(out_channels)
    resnets = [resnet(channels, out_channels) for channels in inputs]
    block = _NAMED_UP.get(_bare(block_type), UpBlock)
    return block(resnets, _attentions(settings, kind, out_channels, num_layers), upsampler)


def get_mid_block(
    block_type: str | None,
    settings: BlockSettings,
    *,
    channels: int,
    num_layers: int = 1,
    attn_groups: int | None = None,
    add_attention: bool = True,
) -> MidBlock | None:
    """Create the middle block that configurations call `block_type`; None for None.

    Args:
        attn_groups: groups of the self-attention's GroupNorm.
        add_attention: whether "UNetMidBlock2D" has self-attention.
    """
    if block_type is None:
        return None
    if block_type not in _MID:
        raise ConfigError(f"Unknown mid_block_type {block_type!r}.", expected=f"None or one of {', '.join(_MID)}")
    kind, block = _MID[block_type], _NAMED_MID.get(block_type, MidBlock)
    scale = {} if kind.resnet == "simple_resnet" else {"output_scale_factor": settings.resnet_out_scale_factor}
    resnets = [getattr(settings, kind.resnet)(channels, channels, **scale) for _ in range(num_layers + 1)]
    if kind.attention != "self_attention":
        return block(resnets, _attentions(settings, kind, channels, num_layers))
    changes = {"rescale_output_factor": settings.resnet_out_scale_factor, "norm_num_groups": attn_groups}
    count = num_layers if add_attention else 0
    return block(resnets, [settings.self_attention(channels, **changes) for _ in range(count)])


def _resample(kind: _Kind, configured: str) -> str:
    return configured if kind.resample == "config" else kind.resample


def _attentions(settings: BlockSettings, kind: _Kind, channels: int, layers: int) -> list[nn.Layer] | None:
    if kind.attention is None:
        return None
    create = getattr(settings, kind.attention)
    if kind.attention == "transformer":
        return [create(channels, layer) for layer in range(layers)]
    return [create(channels) for _ in range(layers)]
