"""Blocks of k-diffusion's UNets, such as the latent upscaler's (crowsonkb/k-diffusion, `layers.py`).

The time embedding modulates each norm, a FIR filter with mirrored borders resamples, attention has no feed-forward
network, and each level has one skip connection instead of one per layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from ppdiffusers.models.attention.attention import Attention
from ppdiffusers.models.attention.kwargs import warn_about_scale
from ppdiffusers.models.blocks.attention_inputs import AttentionInputs, Prompt
from ppdiffusers.models.blocks.checkpointing import CheckpointedBlock
from ppdiffusers.models.blocks.normalization import AdaGroupNorm
from ppdiffusers.models.blocks.resampling import KDownsample2D, KUpsample2D
from ppdiffusers.models.blocks.resnet import ResnetBlockCondNorm2D
from ppdiffusers.models.blocks.settings import BlockSettings

GROUP_SIZE = 32  # channels per group of the norms
NORM_EPS = 1e-5  # of the norms before attention, independent of the configuration


def check_k_widths(up_block_types: Sequence[str], widths: Sequence[int], temb_channels: int) -> list[str]:
    """Return a sentence for each problem with the widths of a configuration, from the finest level to the coarsest.

    An up block is the coarsest one, which has no skip connection, if its width, the next width and the width of the
    time embedding are equal.
    """
    upwards = [*reversed(widths), widths[0]]
    problems = [
        f"{name} at up level {n}: widths {upwards[n]} and {upwards[n + 1]}, and {temb_channels} of the time "
        f"embedding, must {'be the same' if n == 0 else 'not all be the same'}"
        for n, name in enumerate(up_block_types)
        if name == "KCrossAttnUpBlock2D" and (upwards[n] == upwards[n + 1] == temb_channels) != (n == 0)
    ]
    if any(name.startswith("K") for name in up_block_types) and min(widths) < GROUP_SIZE:
        problems.append(f"block_out_channels = {tuple(widths)}: k-diffusion's blocks have at least {GROUP_SIZE}")
    return problems


class KAttentionBlock(nn.Layer):
    """Optional self-attention, then cross-attention, each over a norm of its input and added to it."""

    def __init__(self, settings: BlockSettings, channels: int, self_attention: bool):
        super().__init__()
        head_dim = settings.attention_head_dim
        shared = {"heads": channels // head_dim, "dim_head": head_dim, "bias": True}
        groups = max(1, channels // GROUP_SIZE)
        self.attn1 = None
        if self_attention:
            self.norm1 = AdaGroupNorm(settings.temb_channels, channels, groups, NORM_EPS)
            self.attn1 = Attention(channels, **shared)
        self.norm2 = AdaGroupNorm(settings.temb_channels, channels, groups, NORM_EPS)
        self.attn2 = Attention(
            channels, cross_attention_dim=settings.cross_attention_dim, cross_attention_norm="layer_norm", **shared
        )

    def forward(
        self,
        x: paddle.Tensor,  # [B, C, H, W]
        temb: paddle.Tensor,  # [B, T]
        inputs: AttentionInputs,
    ) -> paddle.Tensor:
        kwargs = inputs.cross_attention_kwargs or {}
        warn_about_scale(kwargs)
        if self.attn1 is not None:
            x = x + self.attn1(self.norm1(x, temb), None, inputs.attention_mask, **kwargs)
        prompt = inputs.encoder_hidden_states
        mask = inputs.attention_mask if prompt is None else inputs.encoder_attention_mask
        return x + self.attn2(self.norm2(x, temb), prompt, mask, **kwargs)


def _resnet(
    settings: BlockSettings, in_channels: int, out_channels: int, **changes: int | None
) -> ResnetBlockCondNorm2D:
    return ResnetBlockCondNorm2D(
        in_channels=in_channels,
        out_channels=out_channels,
        temb_channels=settings.temb_channels,
        dropout=settings.dropout,
        eps=settings.resnet_eps,
        non_linearity=settings.resnet_act_fn,
        **{"groups": in_channels // GROUP_SIZE, "groups_out": out_channels // GROUP_SIZE, **changes},
    )


class _KBlock(CheckpointedBlock):
    """Residual blocks, each with an optional attention."""

    def __init__(self, resnets: list[nn.Layer], attentions: list[nn.Layer] | None):
        super().__init__()
        self.resnets = nn.LayerList(resnets)
        self.has_attention = attentions is not None
        if attentions is not None:
            self.attentions = nn.LayerList(attentions)

    def _layer(self, n: int, x: paddle.Tensor, temb: paddle.Tensor, inputs: AttentionInputs) -> paddle.Tensor:
        x = self._run(self.resnets[n], x, temb)
        return self._run(self.attentions[n], x, temb, inputs) if self.has_attention else x


class KDownBlock2D(_KBlock):
    """Down block. Its stages do not contain the downsampled features, and are None at the coarsest level.

    Args:
        resample: whether the block halves height and width.
        attend: whether attention follows each residual block.
    """

    def __init__(
        self, settings: BlockSettings, in_channels: int, out_channels: int, layers: int, resample: bool, attend: bool
    ):
        resnets = [_resnet(settings, in_channels if n == 0 else out_channels, out_channels) for n in range(layers)]
        attentions = None
        if attend:
            # only the coarsest level has self-attention
            attentions = [KAttentionBlock(settings, out_channels, self_attention=not resample) for _ in resnets]
        super().__init__(resnets, attentions)
        self.downsampler = KDownsample2D() if resample else None

    def forward(
        self,
        hidden_states: paddle.Tensor,
        temb: paddle.Tensor,
        encoder_hidden_states: Prompt | None = None,
        attention_mask: paddle.Tensor | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
        additional_residuals: paddle.Tensor | None = None,
    ) -> tuple[paddle.Tensor, tuple[paddle.Tensor | None, ...]]:
        """Transform [B, C, H, W]; `additional_residuals` is the output of a T2I-Adapter."""
        inputs = AttentionInputs(encoder_hidden_states, attention_mask, encoder_attention_mask, cross_attention_kwargs)
        stages = []
        for n in range(len(self.resnets)):
            hidden_states = self._layer(n, hidden_states, temb, inputs)
            stages.append(None if self.has_attention and self.downsampler is None else hidden_states)
        if additional_residuals is not None:
            hidden_states = hidden_states + additional_residuals
        if self.downsampler is not None:
            hidden_states = self.downsampler(hidden_states)
        return hidden_states, tuple(stages)


class KUpBlock2D(_KBlock):
    """Up block. It reads the last stage of its level; its last layer has the channels of the next level.

    Args:
        resample: whether the block doubles height and width.
        attend: whether attention follows each residual block.
    """

    def __init__(
        self, settings: BlockSettings, in_channels: int, out_channels: int, layers: int, resample: bool, attend: bool
    ):
        layers -= 1  # other up blocks have one more, for the skip connection of the downsampler
        coarsest = attend and in_channels == out_channels == settings.temb_channels
        first = out_channels if coarsest else 2 * out_channels
        last = [out_channels] * (layers - 1) + [in_channels]
        groups_out = out_channels // GROUP_SIZE
        resnets, attentions = [], []
        for n in range(layers):
            channels = first if n == 0 else out_channels
            if attend:
                resnets.append(_resnet(settings, channels, out_channels, conv_2d_out_channels=last[n]))
                attentions.append(KAttentionBlock(settings, last[n], self_attention=coarsest))
            else:
                resnets.append(_resnet(settings, channels, last[n], groups_out=groups_out))
        super().__init__(resnets, attentions if attend else None)
        self.upsampler = KUpsample2D() if resample else None

    def forward(
        self,
        hidden_states: paddle.Tensor,
        res_hidden_states_tuple: tuple[paddle.Tensor | None, ...],
        temb: paddle.Tensor,
        encoder_hidden_states: Prompt | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
        upsample_size: tuple[int, int] | None = None,
        attention_mask: paddle.Tensor | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """Transform [B, C, H, W]; `upsample_size` has no effect, the filter can only double."""
        inputs = AttentionInputs(encoder_hidden_states, attention_mask, encoder_attention_mask, cross_attention_kwargs)
        if res_hidden_states_tuple[-1] is not None:
            hidden_states = paddle.concat([hidden_states, res_hidden_states_tuple[-1]], axis=1)
        for n in range(len(self.resnets)):
            hidden_states = self._layer(n, hidden_states, temb, inputs)
        return hidden_states if self.upsampler is None else self.upsampler(hidden_states)
