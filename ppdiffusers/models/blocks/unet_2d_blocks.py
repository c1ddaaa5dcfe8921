"""Down, up and middle blocks of UNets and autoencoders: residual blocks, each with an optional attention.

Their names, attributes and calls are those of diffusers, whose users replace `forward`; `factory` creates them.
"""

from __future__ import annotations

import paddle
from paddle import nn

from ppdiffusers.models.attention.kwargs import warn_about_scale
from ppdiffusers.models.blocks.attention_inputs import AttentionInputs, Prompt
from ppdiffusers.models.blocks.checkpointing import CheckpointedBlock
from ppdiffusers.models.blocks.freeu import FreeU
from ppdiffusers.models.blocks.resnet import ResnetBlock2D
from ppdiffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
from ppdiffusers.models.transformers.transformer_2d import Transformer2DModel

_TRANSFORMERS = (Transformer2DModel, DualTransformer2DModel)


class DownBlock(CheckpointedBlock):
    """Residual blocks, attentions and a downsampler. Returns the result, and all stages for the skip connections.

    Args:
        resnets: the residual blocks.
        attentions: one after each residual block; None for a block without attention.
        downsampler: applied last; None to keep height and width.
    """

    def __init__(
        self, resnets: list[nn.Layer], attentions: list[nn.Layer] | None = None, downsampler: nn.Layer | None = None
    ):
        super().__init__()
        if attentions is not None:
            self.attentions = nn.LayerList(attentions)
        self.resnets = nn.LayerList(resnets)
        self.has_attention = attentions is not None
        # where the residual of a T2I-Adapter is added
        self._attends_to_prompt = self.has_attention and isinstance(attentions[0], _TRANSFORMERS)
        self.downsamplers = None if downsampler is None else nn.LayerList([downsampler])

    def forward(
        self,
        hidden_states: paddle.Tensor,
        temb: paddle.Tensor | None = None,
        encoder_hidden_states: Prompt | None = None,
        attention_mask: paddle.Tensor | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
        additional_residuals: paddle.Tensor | None = None,
    ) -> tuple[paddle.Tensor, tuple[paddle.Tensor, ...]]:
        """Transform [B, C, H, W]; the inputs of attention layers are those of `AttentionInputs`.

        Args:
            temb: [B, T], the time embedding.
            additional_residuals: output of a T2I-Adapter. It is added before the downsampler if the block attends to a
                prompt, otherwise to the result.
        """
        inputs = AttentionInputs(encoder_hidden_states, attention_mask, encoder_attention_mask, cross_attention_kwargs)
        stages = []
        for n, resnet in enumerate(self.resnets):
            hidden_states = self._run(resnet, hidden_states, temb)
            if self.has_attention:
                hidden_states = self._run(_attend, self.attentions[n], hidden_states, inputs)
            stages.append(hidden_states)
        if additional_residuals is not None and self._attends_to_prompt:
            hidden_states = stages[-1] = hidden_states + additional_residuals
        for downsampler in self.downsamplers or ():
            hidden_states = _resample(downsampler, hidden_states, temb)
            stages.append(hidden_states)
        if additional_residuals is not None and not self._attends_to_prompt:
            hidden_states = stages[-1] = hidden_states + additional_residuals
        return hidden_states, tuple(stages)


class UpBlock(CheckpointedBlock):
    """Residual blocks, attentions and an upsampler. Each residual block reads one skip connection, if there are any.

    Args:
        resnets: the residual blocks.
        attentions: one after each residual block; None for a block without attention.
        upsampler: applied last; None to keep height and width.

    Attributes:
        freeu: reweights the inputs of each residual block; None for no change.
    """

    freeu: FreeU | None = None

    def __init__(
        self, resnets: list[nn.Layer], attentions: list[nn.Layer] | None = None, upsampler: nn.Layer | None = None
    ):
        super().__init__()
        if attentions is not None:
            self.attentions = nn.LayerList(attentions)
        self.resnets = nn.LayerList(resnets)
        self.has_attention = attentions is not None
        self.upsamplers = None if upsampler is None else nn.LayerList([upsampler])

    def forward(
        self,
        hidden_states: paddle.Tensor,
        res_hidden_states_tuple: tuple[paddle.Tensor, ...] | None = None,
        temb: paddle.Tensor | None = None,
        encoder_hidden_states: Prompt | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
        upsample_size: tuple[int, int] | None = None,
        attention_mask: paddle.Tensor | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """Transform [B, C, H, W]; the inputs of attention layers are those of `AttentionInputs`.

        Args:
            res_hidden_states_tuple: stages of the down block at the same level; the last one is read first.
            temb: [B, T], the time embedding.
            upsample_size: height and width of the result; by default they are doubled.
        """
        inputs = AttentionInputs(encoder_hidden_states, attention_mask, encoder_attention_mask, cross_attention_kwargs)
        for n, resnet in enumerate(self.resnets):
            if res_hidden_states_tuple is not None:
                skip = res_hidden_states_tuple[-1 - n]
                if self.freeu is not None:
                    hidden_states, skip = self.freeu(hidden_states, skip)
                hidden_states = paddle.concat([hidden_states, skip], axis=1)
            hidden_states = self._run(resnet, hidden_states, temb)
            if self.has_attention:
                hidden_states = self._run(_attend, self.attentions[n], hidden_states, inputs)
        for upsampler in self.upsamplers or ():
            hidden_states = _resample(upsampler, hidden_states, temb, upsample_size)
        return hidden_states


class MidBlock(CheckpointedBlock):
    """A residual block, then pairs of attention and residual block.

    Args:
        resnets: the residual blocks.
        attentions: one before each residual block but the first; an empty list for a block without attention.
    """

    def __init__(self, resnets: list[nn.Layer], attentions: list[nn.Layer]):
        super().__init__()
        self.attentions = nn.LayerList(attentions)
        self.resnets = nn.LayerList(resnets)

    def forward(
        self,
        hidden_states: paddle.Tensor,  # [B, C, H, W]
        temb: paddle.Tensor | None = None,  # [B, T]
        encoder_hidden_states: Prompt | None = None,
        attention_mask: paddle.Tensor | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        inputs = AttentionInputs(encoder_hidden_states, attention_mask, encoder_attention_mask, cross_attention_kwargs)
        hidden_states = self._run(self.resnets[0], hidden_states, temb)
        for n, resnet in enumerate(list(self.resnets)[1:]):
            if len(self.attentions):
                hidden_states = self._run(_attend, self.attentions[n], hidden_states, inputs)
            hidden_states = self._run(resnet, hidden_states, temb)
        return hidden_states


class DownBlock2D(DownBlock):
    """Down block without attention."""


class CrossAttnDownBlock2D(DownBlock):
    """Down block with transformers over the prompt."""

    has_cross_attention = True


class UpBlock2D(UpBlock):
    """Up block without attention."""


class CrossAttnUpBlock2D(UpBlock):
    """Up block with transformers over the prompt."""

    has_cross_attention = True


class UNetMidBlock2D(MidBlock):
    """Middle block with self-attention, or none."""


class UNetMidBlock2DCrossAttn(MidBlock):
    """Middle block with transformers over the prompt."""

    has_cross_attention = True


def _attend(attention: nn.Layer, hidden_states: paddle.Tensor, inputs: AttentionInputs) -> paddle.Tensor:
    """Call the attention of a block; self-attention ignores the inputs."""
    if isinstance(attention, _TRANSFORMERS):
        return attention(
            hidden_states,
            inputs.encoder_hidden_states,
            cross_attention_kwargs=inputs.cross_attention_kwargs,
            attention_mask=inputs.attention_mask,
            encoder_attention_mask=inputs.encoder_attention_mask,
            return_dict=False,
        )[0]
    if attention.added_kv_proj_dim is None:
        return attention(hidden_states)
    kwargs = inputs.cross_attention_kwargs or {}
    warn_about_scale(kwargs)
    mask = inputs.encoder_attention_mask if inputs.attention_mask is None else inputs.attention_mask
    return attention(hidden_states, inputs.encoder_hidden_states, mask, **kwargs)


def _resample(
    layer: nn.Layer, x: paddle.Tensor, temb: paddle.Tensor | None, size: tuple[int, int] | None = None
) -> paddle.Tensor:
    if isinstance(layer, ResnetBlock2D):
        return layer(x, temb)
    return layer(x) if size is None else layer(x, size)
