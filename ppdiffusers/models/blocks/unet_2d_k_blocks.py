"""The blocks of k-diffusion's UNets, which the latent upscaler is made of (crowsonkb/k-diffusion, `layers.py`).

The time embedding acts in every norm, pictures are resampled by a mirrored FIR filter, attention comes without a
feed-forward network, and each level hands one skip connection to the way up, not one for each layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle
from paddle import nn

from ppdiffusers.models.attention.attention import Attention
from ppdiffusers.models.blocks.checkpointed import Checkpointed
from ppdiffusers.models.blocks.normalization import AdaGroupNorm
from ppdiffusers.models.blocks.resnet import ResnetBlockCondNorm2D
from ppdiffusers.models.blocks.sampling import KDownsample2D, KUpsample2D

if TYPE_CHECKING:
    from ppdiffusers.models.blocks.unet_2d_blocks import BlockSettings

GROUP_SIZE = 32  # channels that are normalised together
NORM_EPS = 1e-5  # of the norms before attention, whatever the configuration says of the others


def check_k_widths(up_block_types: tuple[str, ...], widths: tuple[int, ...], temb_channels: int) -> list[str]:
    """What of a configuration's widths, from the finest level to the coarsest, these blocks cannot be made of.

    A block going up takes itself for the coarsest, which has no skip connection, when its width, the next one's and the
    time embedding's are the same.
    """
    coming = [*reversed(widths), widths[0]]
    problems = [
        f"{name} at level {n} going up: widths {coming[n]} and {coming[n + 1]}, and {temb_channels} of the time "
        f"embedding, must {'be the same' if n == 0 else 'not all be the same'}"
        for n, name in enumerate(up_block_types)
        if name == "KCrossAttnUpBlock2D" and (coming[n] == coming[n + 1] == temb_channels) != (n == 0)
    ]
    if any(name.startswith("K") for name in up_block_types) and min(widths) < GROUP_SIZE:
        problems.append(f"block_out_channels = {tuple(widths)}: k-diffusion's blocks have at least {GROUP_SIZE}")
    return problems


class KAttentionBlock(nn.Layer):
    """Attention over the pixels, where asked for, then over the text; each on a norm of its input and added to it."""

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

    def forward(self, x: paddle.Tensor, temb: paddle.Tensor, context: dict) -> paddle.Tensor:
        """x: [B, C, H, W]; temb: [B, T]; context: the text and the masks."""
        mask = context.get("attention_mask")
        if self.attn1 is not None:
            x = x + self.attn1(self.norm1(x, temb), None, mask)
        text = context.get("encoder_hidden_states")
        mask = mask if text is None else context.get("encoder_attention_mask")
        return x + self.attn2(self.norm2(x, temb), text, mask)


def _resnet(settings: BlockSettings, in_channels: int, out_channels: int, **changes: int | None):
    return ResnetBlockCondNorm2D(
        in_channels=in_channels,
        out_channels=out_channels,
        temb_channels=settings.temb_channels,
        dropout=settings.dropout,
        eps=settings.resnet_eps,
        non_linearity=settings.resnet_act_fn,
        **{"groups": in_channels // GROUP_SIZE, "groups_out": out_channels // GROUP_SIZE, **changes},
    )


class _KBlock(Checkpointed):
    """Residual blocks, each followed by an attention where there is one."""

    def __init__(self, resnets: list, attentions: list | None):
        super().__init__()
        self.resnets = nn.LayerList(resnets)
        self.has_attention = attentions is not None
        if attentions is not None:
            self.attentions = nn.LayerList(attentions)

    def _layer(self, n: int, x: paddle.Tensor, temb: paddle.Tensor, context: dict | None) -> paddle.Tensor:
        x = self._run(self.resnets[n], x, temb)
        return self._run(self.attentions[n], x, temb, context or {}) if self.has_attention else x


class KDownBlock2D(_KBlock):
    """Down; the stages for the skip connections do not hold the halved picture, and the last level has none."""

    def __init__(
        self, settings: BlockSettings, in_channels: int, out_channels: int, layers: int, resample: bool, attend: bool
    ):
        resnets = [_resnet(settings, in_channels if n == 0 else out_channels, out_channels) for n in range(layers)]
        attentions = None
        if attend:
            # pixels attend to each other at the coarsest level only
            attentions = [KAttentionBlock(settings, out_channels, self_attention=not resample) for _ in resnets]
        super().__init__(resnets, attentions)
        self.downsampler = KDownsample2D() if resample else None

    def forward(
        self,
        hidden_states: paddle.Tensor,
        temb: paddle.Tensor,
        context: dict | None = None,
        residual: paddle.Tensor | None = None,
    ) -> tuple[paddle.Tensor, tuple[paddle.Tensor | None, ...]]:
        stages = []
        for n in range(len(self.resnets)):
            hidden_states = self._layer(n, hidden_states, temb, context)
            stages.append(None if self.has_attention and self.downsampler is None else hidden_states)
        if residual is not None:
            hidden_states = hidden_states + residual
        if self.downsampler is not None:
            hidden_states = self.downsampler(hidden_states)
        return hidden_states, tuple(stages)


class KUpBlock2D(_KBlock):
    """Up; the last stage of the level is joined to the input, and the last layer gives the next level's channels."""

    def __init__(
        self, settings: BlockSettings, in_channels: int, out_channels: int, layers: int, resample: bool, attend: bool
    ):
        layers -= 1  # none for the skip connection of the downsampler
        coarsest = attend and in_channels == out_channels == settings.temb_channels
        first = out_channels if coarsest else 2 * out_channels
        last = [out_channels] * (layers - 1) + [in_channels]
        groups_out = out_channels // GROUP_SIZE
        resnets, attentions = [], []
        for n in range(layers):
            before = first if n == 0 else out_channels
            if attend:
                resnets.append(_resnet(settings, before, out_channels, conv_2d_out_channels=last[n]))
                attentions.append(KAttentionBlock(settings, last[n], self_attention=coarsest))
            else:
                resnets.append(_resnet(settings, before, last[n], groups_out=groups_out))
        super().__init__(resnets, attentions if attend else None)
        self.upsampler = KUpsample2D() if resample else None

    def forward(
        self,
        hidden_states: paddle.Tensor,
        skips: tuple[paddle.Tensor | None, ...],
        temb: paddle.Tensor,
        upsample_size: tuple[int, int] | None = None,
        context: dict | None = None,
    ) -> paddle.Tensor:
        if skips[-1] is not None:
            hidden_states = paddle.concat([hidden_states, skips[-1]], axis=1)
        for n in range(len(self.resnets)):
            hidden_states = self._layer(n, hidden_states, temb, context)
        return hidden_states if self.upsampler is None else self.upsampler(hidden_states)
