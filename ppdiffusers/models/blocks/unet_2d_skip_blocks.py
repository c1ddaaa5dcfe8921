"""Blocks of NCSN++ (score SDE, arXiv 2011.13456), in which a low-resolution image accompanies the features."""

from __future__ import annotations

import math

import paddle
from paddle import nn

from ppdiffusers.models.blocks.checkpointing import CheckpointedBlock
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.resampling import fir_downsample, fir_upsample
from ppdiffusers.models.blocks.resnet import ResnetBlock2D
from ppdiffusers.models.blocks.settings import BlockSettings

_OUTPUT_SCALE = math.sqrt(2.0)
_IMAGE_CHANNELS = 3


def _groups(channels: int) -> int:
    return min(channels // 4, 32)


def _self_attention(settings: BlockSettings, channels: int) -> nn.Layer:
    return settings.self_attention(channels, norm_num_groups=32, rescale_output_factor=_OUTPUT_SCALE)


class SkipDownBlock2D(CheckpointedBlock):
    """Residual blocks and a FIR downsampler; the downsampled image [B, 3, H, W] is added through a 1x1 convolution.

    Args:
        resample: whether the block halves height and width.
        attend: whether self-attention follows each residual block.
    """

    def __init__(
        self, settings: BlockSettings, in_channels: int, out_channels: int, layers: int, resample: bool, attend: bool
    ):
        super().__init__()

        def resnet(channels: int, **changes: object) -> ResnetBlock2D:
            groups = {"groups": _groups(channels), "groups_out": _groups(out_channels)}
            return settings.resnet(channels, out_channels, output_scale_factor=_OUTPUT_SCALE, **groups, **changes)

        self.has_attention = attend
        if attend:
            self.attentions = nn.LayerList([_self_attention(settings, out_channels) for _ in range(layers)])
        self.resnets = nn.LayerList([resnet(in_channels if n == 0 else out_channels) for n in range(layers)])
        self.resnet_down = None
        if resample:
            self.resnet_down = resnet(out_channels, use_in_shortcut=True, down=True, kernel="fir")
            self.skip_conv = Conv2D(_IMAGE_CHANNELS, out_channels, 1)

    def forward(
        self, hidden_states: paddle.Tensor, temb: paddle.Tensor, skip_sample: paddle.Tensor
    ) -> tuple[paddle.Tensor, tuple[paddle.Tensor, ...], paddle.Tensor]:
        """Transform [B, C, H, W]. Returns the result, all stages for the skip connections, and the image."""
        stages = ()
        for n, resnet in enumerate(self.resnets):
            hidden_states = self._run(resnet, hidden_states, temb)
            if self.has_attention:
                hidden_states = self._run(self.attentions[n], hidden_states)
            stages += (hidden_states,)
        if self.resnet_down is not None:
            hidden_states = self.resnet_down(hidden_states, temb)
            skip_sample = fir_downsample(skip_sample)
            hidden_states = self.skip_conv(skip_sample) + hidden_states
            stages += (hidden_states,)
        return hidden_states, stages, skip_sample


class SkipUpBlock2D(CheckpointedBlock):
    """Residual blocks and a FIR upsampler; a 3x3 convolution of the features is added to the image [B, 3, H, W].

    Args:
        in_channels: channels of the last skip connection.
        prev_output_channel: channels of the input.
        resample: whether the block doubles height and width.
        attend: whether self-attention follows the residual blocks.
    """

    def __init__(
        self,
        settings: BlockSettings,
        in_channels: int,
        prev_output_channel: int,
        out_channels: int,
        layers: int,
        resample: bool,
        attend: bool,
    ):
        super().__init__()
        groups_out = _groups(out_channels)
        shared = {"groups_out": groups_out, "output_scale_factor": _OUTPUT_SCALE}

        def resnet(channels: int, skip: int) -> ResnetBlock2D:
            # diffusers' networks with attention use min(a + b // 4, 32) groups, not min((a + b) // 4, 32)
            groups = min(channels + skip // 4, 32) if attend else _groups(channels + skip)
            return settings.resnet(channels + skip, out_channels, groups=groups, **shared)

        self.has_attention = attend
        if attend:
            self.attentions = nn.LayerList([_self_attention(settings, out_channels)])
        channels = up_block_channels(in_channels, prev_output_channel, out_channels, layers)
        self.resnets = nn.LayerList([resnet(*pair) for pair in channels])
        self.resnet_up = None
        if resample:
            up = {"groups": groups_out, "use_in_shortcut": True, "up": True, "kernel": "fir"}
            self.resnet_up = settings.resnet(out_channels, out_channels, **shared, **up)
            self.skip_conv = Conv2D(out_channels, _IMAGE_CHANNELS, 3, padding=1)
            self.skip_norm = nn.GroupNorm(groups_out, out_channels, epsilon=settings.resnet_eps)
            self.act = nn.Silu()

    def forward(
        self,
        hidden_states: paddle.Tensor,
        skips: tuple[paddle.Tensor, ...],
        temb: paddle.Tensor,
        skip_sample: paddle.Tensor | None = None,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Transform [B, C, H, W]. Returns the result and the image."""
        for n, resnet in enumerate(self.resnets):
            hidden_states = self._run(resnet, paddle.concat([hidden_states, skips[-1 - n]], axis=1), temb)
        if self.has_attention:
            hidden_states = self._run(self.attentions[0], hidden_states)
        if skip_sample is not None:
            skip_sample = fir_upsample(skip_sample)
        if self.resnet_up is not None:
            image = self.skip_conv(self.act(self.skip_norm(hidden_states)))  # [B, 3, H, W]
            skip_sample = image if skip_sample is None else skip_sample + image
            hidden_states = self.resnet_up(hidden_states, temb)
        return hidden_states, skip_sample


def up_block_channels(
    in_channels: int, prev_output_channel: int, out_channels: int, layers: int
) -> list[tuple[int, int]]:
    """Return the channels of the input and of the skip connection, for each residual block of an up block."""
    inputs = [prev_output_channel] + [out_channels] * (layers - 1)
    skips = [out_channels] * (layers - 1) + [in_channels]
    return list(zip(inputs, skips))
