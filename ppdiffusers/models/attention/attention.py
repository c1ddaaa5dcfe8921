"""Attention, the feed-forward network and the transformer block of the UNets and autoencoders."""

from __future__ import annotations

import paddle
from paddle import nn

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.models.blocks.activations import GEGLU, GELU, ApproximateGELU
from ppdiffusers.models.blocks.normalization import AdaLayerNorm
from ppdiffusers.runtime.kernels.attention import scaled_dot_product_attention


def as_bias(mask: paddle.Tensor | None, dtype: paddle.dtype) -> paddle.Tensor | None:
    """[B, K] of 1 (keep) and 0 (discard) -> [B, 1, K] of 0 and -10000 to add to scores; a bias stays as it is."""
    if mask is None or mask.ndim == 3:
        return mask
    return ((1 - mask.astype(dtype)) * -10000.0).unsqueeze(1)


class Attention(nn.Layer):
    """Multi-head attention with the names of diffusers' `Attention`.

    Over tokens [B, N, C], or over a picture [B, C, H, W] whose pixels are the tokens. With
    `added_kv_proj_dim` the text's keys and values stand before the picture's own in one softmax.

    Args:
        query_dim: channels of the input; cross_attention_dim: channels of the context (None: self attention).
        heads, dim_head: number and width of the heads.
        upcast_attention, upcast_softmax: do that part in float32.
        norm_num_groups: a GroupNorm over the input; residual_connection: add the input to the output,
            then divide by rescale_output_factor.
    """

    def __init__(
        self,
        query_dim: int,
        cross_attention_dim: int | None = None,
        heads: int = 8,
        dim_head: int = 64,
        dropout: float = 0.0,
        bias: bool = False,
        upcast_attention: bool = False,
        upcast_softmax: bool = False,
        norm_num_groups: int | None = None,
        added_kv_proj_dim: int | None = None,
        out_bias: bool = True,
        scale_qk: bool = True,
        only_cross_attention: bool = False,
        cross_attention_norm: str | None = None,
        eps: float = 1e-5,
        rescale_output_factor: float = 1.0,
        residual_connection: bool = False,
    ):
        super().__init__()
        inner_dim = heads * dim_head
        context_dim = query_dim if cross_attention_dim is None else cross_attention_dim
        bias_attr = None if bias else False
        self.heads, self.scale = heads, dim_head**-0.5 if scale_qk else 1.0
        self.upcast = upcast_attention or upcast_softmax
        self.only_cross_attention = only_cross_attention
        self.rescale_output_factor, self.residual_connection = rescale_output_factor, residual_connection
        self.slice_size: int | None = None

        self.group_norm = None
        if norm_num_groups is not None:
            self.group_norm = nn.GroupNorm(norm_num_groups, query_dim, epsilon=eps)
        self.to_q = nn.Linear(query_dim, inner_dim, bias_attr=bias_attr)
        if not only_cross_attention:
            self.to_k = nn.Linear(context_dim, inner_dim, bias_attr=bias_attr)
            self.to_v = nn.Linear(context_dim, inner_dim, bias_attr=bias_attr)
        self.added_kv = added_kv_proj_dim is not None
        if self.added_kv:
            self.add_k_proj = nn.Linear(added_kv_proj_dim, inner_dim)
            self.add_v_proj = nn.Linear(added_kv_proj_dim, inner_dim)
        self.norm_cross = _context_norm(cross_attention_norm, added_kv_proj_dim or context_dim)
        out_attr = None if out_bias else False
        self.to_out = nn.LayerList([nn.Linear(inner_dim, query_dim, bias_attr=out_attr), nn.Dropout(dropout)])

    def forward(
        self,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """`attention_mask` is a bias [B, 1 or Q, K] over the scores."""
        residual, picture = hidden_states, hidden_states.ndim == 4
        if self.group_norm is not None and picture:
            hidden_states = self.group_norm(hidden_states)
        if picture:
            shape = hidden_states.shape
            hidden_states = hidden_states.flatten(2).transpose([0, 2, 1])  # [B, H*W, C]
        elif self.group_norm is not None:
            hidden_states = self.group_norm(hidden_states.transpose([0, 2, 1])).transpose([0, 2, 1])

        query = self.to_q(hidden_states)
        key, value = self._keys_and_values(hidden_states, encoder_hidden_states)
        if attention_mask is not None:
            attention_mask = attention_mask.unsqueeze(1)  # [B, 1, 1 or Q, K]
        out = scaled_dot_product_attention(
            *(self._split_heads(x) for x in (query, key, value)),
            attention_mask,
            scale=self.scale,
            upcast=self.upcast,
            rows_at_once=self.slice_size,
        )
        project, dropout = self.to_out
        out = dropout(project(self._join_heads(out)))
        if picture:
            out = out.transpose([0, 2, 1]).reshape(shape)
        if self.residual_connection:
            out = out + residual
        return out / self.rescale_output_factor

    def _keys_and_values(
        self, hidden_states: paddle.Tensor, context: paddle.Tensor | None
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        if context is None:
            context = hidden_states
        elif isinstance(self.norm_cross, nn.GroupNorm):
            context = self.norm_cross(context.transpose([0, 2, 1])).transpose([0, 2, 1])
        elif self.norm_cross is not None:
            context = self.norm_cross(context)
        if not self.added_kv:
            return self.to_k(context), self.to_v(context)
        key, value = self.add_k_proj(context), self.add_v_proj(context)
        if self.only_cross_attention:
            return key, value
        return (
            paddle.concat([key, self.to_k(hidden_states)], axis=1),
            paddle.concat([value, self.to_v(hidden_states)], axis=1),
        )

    def _split_heads(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, N, H*D] -> [B, H, N, D]
        batch, tokens, width = x.shape
        return x.reshape([batch, tokens, self.heads, width // self.heads]).transpose([0, 2, 1, 3])

    def _join_heads(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, H, N, D] -> [B, N, H*D]
        return x.transpose([0, 2, 1, 3]).flatten(2)


def _context_norm(kind: str | None, channels: int) -> nn.Layer | None:
    makers = {
        None: lambda: None,
        "layer_norm": lambda: nn.LayerNorm(channels),
        "group_norm": lambda: nn.GroupNorm(32, channels, epsilon=1e-5),
    }
    if kind not in makers:
        raise ConfigError(f"Unknown cross_attention_norm {kind!r}.", expected="None, 'layer_norm' or 'group_norm'")
    return makers[kind]()


class FeedForward(nn.Layer):
    """Two linear layers with an activation between them; four times as wide inside."""

    def __init__(
        self,
        dim: int,
        dim_out: int | None = None,
        mult: int = 4,
        dropout: float = 0.0,
        activation_fn: str = "geglu",
        bias: bool = True,
    ):
        super().__init__()
        inner_dim = dim * mult
        makers = {
            "geglu": lambda: GEGLU(dim, inner_dim, bias),
            "gelu": lambda: GELU(dim, inner_dim, bias=bias),
            "gelu-approximate": lambda: GELU(dim, inner_dim, approximate=True, bias=bias),
            "geglu-approximate": lambda: ApproximateGELU(dim, inner_dim, bias=bias),
        }
        if activation_fn not in makers:
            raise ConfigError(f"Unknown activation_fn {activation_fn!r}.", expected=f"one of {', '.join(makers)}")
        bias_attr = None if bias else False
        self.net = nn.LayerList(
            [makers[activation_fn](), nn.Dropout(dropout), nn.Linear(inner_dim, dim_out or dim, bias_attr=bias_attr)]
        )

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:
        for layer in self.net:
            hidden_states = layer(hidden_states)
        return hidden_states


class BasicTransformerBlock(nn.Layer):
    """Self attention, cross attention, feed-forward: each on a LayerNorm of its input and added to it.

    With `num_embeds_ada_norm` the timestep scales and shifts the norms of both attentions.
    """

    def __init__(
        self,
        dim: int,
        num_attention_heads: int,
        attention_head_dim: int,
        dropout: float = 0.0,
        cross_attention_dim: int | None = None,
        activation_fn: str = "geglu",
        attention_bias: bool = False,
        only_cross_attention: bool = False,
        double_self_attention: bool = False,
        upcast_attention: bool = False,
        num_embeds_ada_norm: int | None = None,
    ):
        super().__init__()
        shared = {
            "query_dim": dim,
            "heads": num_attention_heads,
            "dim_head": attention_head_dim,
            "dropout": dropout,
            "bias": attention_bias,
            "upcast_attention": upcast_attention,
        }
        self.only_cross_attention = only_cross_attention
        self.norm1 = _block_norm(dim, num_embeds_ada_norm)
        self.attn1 = Attention(cross_attention_dim=cross_attention_dim if only_cross_attention else None, **shared)
        self.norm2 = self.attn2 = None
        if cross_attention_dim is not None or double_self_attention:
            self.norm2 = _block_norm(dim, num_embeds_ada_norm)
            self.attn2 = Attention(cross_attention_dim=None if double_self_attention else cross_attention_dim, **shared)
        self.double_self_attention = double_self_attention
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, dropout=dropout, activation_fn=activation_fn)

    def forward(
        self,
        hidden_states: paddle.Tensor,  # [B, N, C]
        encoder_hidden_states: paddle.Tensor | None = None,  # [B, S, cross_attention_dim]
        attention_mask: paddle.Tensor | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
        timestep: paddle.Tensor | None = None,  # [B]
    ) -> paddle.Tensor:
        times = (timestep,) if isinstance(self.norm1, AdaLayerNorm) else ()
        context = encoder_hidden_states if self.only_cross_attention else None
        hidden_states = hidden_states + self.attn1(self.norm1(hidden_states, *times), context, attention_mask)
        if self.attn2 is not None:
            context = None if self.double_self_attention else encoder_hidden_states
            normed = self.norm2(hidden_states, *times)
            hidden_states = hidden_states + self.attn2(normed, context, encoder_attention_mask)
        return hidden_states + self.ff(self.norm3(hidden_states))


def _block_norm(dim: int, num_embeds_ada_norm: int | None) -> nn.Layer:
    return nn.LayerNorm(dim) if num_embeds_ada_norm is None else AdaLayerNorm(dim, num_embeds_ada_norm)
