"""Attention processors: how an `Attention` layer computes. Signatures are those of diffusers' processors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.models.attention.masks import bias_per_head
from ppdiffusers.runtime.kernels.attention import scaled_dot_product_attention

if TYPE_CHECKING:
    from ppdiffusers.models.attention.attention import Attention


class AttentionProcessor(Protocol):
    """The computation of an `Attention` layer: a function, an object, or an `nn.Layer` with its own parameters.

    A processor may set the attribute `compilable = True`. It then depends on nothing but its arguments, its parameters
    and plain attributes that never change, so that a compiled program may contain it. Networks with other processors
    run in eager mode.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        **kwargs: object,
    ) -> paddle.Tensor: ...


Projections = Callable[
    ["Attention", paddle.Tensor, "paddle.Tensor | None"], tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]
]


def project_separately(
    attn: Attention, tokens: paddle.Tensor, context: paddle.Tensor | None
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """Queries of the tokens [B, N, C], keys and values of the context [B, K, D], or of the tokens without one."""
    context = tokens if context is None else context
    return attn.to_q(tokens), attn.to_k(context), attn.to_v(context)


def project_at_once(
    attn: Attention, tokens: paddle.Tensor, context: paddle.Tensor | None
) -> tuple[paddle.Tensor, paddle.Tensor, paddle.Tensor]:
    """The same by one matrix product for each input, with the weights of `Attention.fuse_projections`.

    Layers with adapters are projected separately: the concatenated weights know nothing of them.
    """
    adapted = any(type(layer) is not nn.Linear for layer in (attn.to_q, attn.to_k, attn.to_v))
    if adapted or (context is not None and not attn.is_cross_attention):
        return project_separately(attn, tokens, context)
    bias = getattr(attn, "fused_bias", None)
    if not attn.is_cross_attention:
        query, key, value = F.linear(tokens, attn.fused_weight, bias).chunk(3, axis=-1)
        return query, key, value
    key, value = F.linear(tokens if context is None else context, attn.fused_weight, bias).chunk(2, axis=-1)
    return attn.to_q(tokens), key, value


class AttnProcessor:
    """Attention over tokens [B, N, C] or feature maps [B, C, H, W], computed by the kernel that suits the device."""

    compilable = True

    def __call__(
        self,
        attn: Attention,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        temb: paddle.Tensor | None = None,
        **kwargs: object,
    ) -> paddle.Tensor:
        rows = self._rows_at_once(attn)
        _, mixed = query_and_mix(attn, hidden_states, encoder_hidden_states, attention_mask, rows, self._project)
        return finish(attn, mixed, hidden_states)

    _project = staticmethod(project_separately)

    def _rows_at_once(self, attn: Attention) -> int | None:
        return attn.slice_size


class AttnProcessor2_0(AttnProcessor):
    """The default; the same as `AttnProcessor`."""


class XFormersAttnProcessor(AttnProcessor):
    """The same: Paddle's fused kernel takes the place of xformers.

    Args:
        attention_op: accepted for diffusers' scripts and ignored.
    """

    def __init__(self, attention_op: object = None):
        self.attention_op = attention_op


class FusedAttnProcessor2_0(AttnProcessor):
    """The same with the concatenated weights of `Attention.fuse_projections`: one matrix product for each input."""

    _project = staticmethod(project_at_once)


class SlicedAttnProcessor(AttnProcessor):
    """Attention over a few heads at a time.

    Args:
        slice_size: rows (batch times heads) to compute together.
    """

    def __init__(self, slice_size: int):
        self.slice_size = slice_size

    def _rows_at_once(self, attn: Attention) -> int | None:
        return self.slice_size


class AttnAddedKVProcessor:
    """Attention of pixels [B, C, H, W] over a prompt and over the pixels themselves, in one softmax."""

    compilable = True

    def __call__(
        self,
        attn: Attention,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        **kwargs: object,
    ) -> paddle.Tensor:
        residual = hidden_states
        if encoder_hidden_states is None:
            encoder_hidden_states = _tokens(hidden_states)
        elif attn.norm_cross is not None:
            encoder_hidden_states = attn.norm_encoder_hidden_states(encoder_hidden_states)
        tokens = _normed_tokens(attn, hidden_states)  # [B, N, C]
        query = attn.to_q(tokens)
        key, value = attn.add_k_proj(encoder_hidden_states), attn.add_v_proj(encoder_hidden_states)  # [B, S, H*D]
        if not attn.only_cross_attention:
            key = paddle.concat([key, attn.to_k(tokens)], axis=1)  # [B, S + N, H*D]
            value = paddle.concat([value, attn.to_v(tokens)], axis=1)
        mask = _pad_mask(attention_mask, key.shape[1])
        mixed = attend(attn, query, key, value, mask, self._rows_at_once(attn))
        return _project_out(attn, mixed, residual) + residual

    def _rows_at_once(self, attn: Attention) -> int | None:
        return attn.slice_size


class AttnAddedKVProcessor2_0(AttnAddedKVProcessor):
    """The default of layers with added keys and values; the same as `AttnAddedKVProcessor`."""


class SlicedAttnAddedKVProcessor(AttnAddedKVProcessor):
    """The same over a few heads at a time.

    Args:
        slice_size: rows (batch times heads) to compute together.
    """

    def __init__(self, slice_size: int):
        self.slice_size = slice_size

    def _rows_at_once(self, attn: Attention) -> int | None:
        return self.slice_size


def query_and_mix(
    attn: Attention,
    hidden_states: paddle.Tensor,
    encoder_hidden_states: paddle.Tensor | None,
    bias: paddle.Tensor | None,
    rows_at_once: int | None,
    project: Projections | None = None,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Project the input and attend to the prompt, or to the input itself: (query, mixed values), [B, N, H*D] each."""
    tokens = _normed_tokens(attn, hidden_states)  # [B, N, C]
    if encoder_hidden_states is not None and attn.norm_cross is not None:
        encoder_hidden_states = attn.norm_encoder_hidden_states(encoder_hidden_states)
    project = project_separately if project is None else project
    query, key, value = project(attn, tokens, encoder_hidden_states)  # [B, Q or K, H*D]
    return query, attend(attn, query, key, value, bias, rows_at_once)


def finish(attn: Attention, mixed: paddle.Tensor, hidden_states: paddle.Tensor) -> paddle.Tensor:
    """Turn mixed values [B, N, H*D] into the output of the layer, in the shape of its input `hidden_states`."""
    output = _project_out(attn, mixed, hidden_states)
    if attn.residual_connection:
        output = output + hidden_states
    return output / attn.rescale_output_factor


def _tokens(x: paddle.Tensor) -> paddle.Tensor:
    """Flatten the pixels of a feature map: [B, C, H, W] -> [B, H*W, C]; tokens are returned unchanged."""
    return x.flatten(2).transpose([0, 2, 1]) if x.ndim == 4 else x


def _normed_tokens(attn: Attention, hidden_states: paddle.Tensor) -> paddle.Tensor:
    """Apply the layer's GroupNorm, if it has one, and flatten to [B, N, C]."""
    if attn.group_norm is None:
        return _tokens(hidden_states)
    if hidden_states.ndim == 4:
        return _tokens(attn.group_norm(hidden_states))
    return attn.group_norm(hidden_states.transpose([0, 2, 1])).transpose([0, 2, 1])


def attend(
    attn: Attention,
    query: paddle.Tensor,
    key: paddle.Tensor,
    value: paddle.Tensor,
    bias: paddle.Tensor | None,
    rows_at_once: int | None,
) -> paddle.Tensor:
    """Multi-head attention over [B, N, H*D], before the output projection."""
    mixed = scaled_dot_product_attention(
        *(attn.head_to_batch_dim(x, out_dim=4) for x in (query, key, value)),  # [B, H, N, D]
        bias_per_head(bias, query.shape[0]),
        scale=attn.scale,
        upcast=attn.upcast_attention or attn.upcast_softmax,
        rows_at_once=rows_at_once,
    )
    return mixed.transpose([0, 2, 1, 3]).flatten(2)  # [B, Q, H*D]


def _project_out(attn: Attention, mixed: paddle.Tensor, residual: paddle.Tensor) -> paddle.Tensor:
    """Apply the output projection and dropout, and restore the shape of the input."""
    project, dropout = attn.to_out
    mixed = dropout(project(mixed))  # [B, N, C]
    return mixed.transpose([0, 2, 1]).reshape(residual.shape) if residual.ndim == 4 else mixed


def _pad_mask(mask: paddle.Tensor | None, keys: int) -> paddle.Tensor | None:
    """Extend a bias over the prompt by zeros over the pixels, whose keys follow."""
    if mask is None or mask.shape[-1] >= keys:
        return mask
    zeros = paddle.zeros([*mask.shape[:-1], keys - mask.shape[-1]], dtype=mask.dtype)
    return paddle.concat([mask, zeros], axis=-1)
