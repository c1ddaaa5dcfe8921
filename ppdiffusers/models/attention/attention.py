"""Attention, the feed-forward network and the transformer block of the UNets and autoencoders."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.blocks.activations import GEGLU, GELU, ApproximateGELU
from ppdiffusers.models.blocks.normalization import AdaLayerNorm

# Scores are computed in slices of this many elements: on a CPU 8 MB in float32, which stay in its cache from one
# product to the other; on a GPU 256 MB.
_SCORES_AT_ONCE = {"cpu": 2**21, "gpu": 2**26}
# Very large pictures have larger slices instead of more: each is operations to trace and to start.
_MOST_SLICES = 256

_in_one_piece = contextvars.ContextVar("attention in one piece", default=False)


@contextlib.contextmanager
def attention_in_one_piece() -> Iterator[None]:
    """While this lasts, attention is written without slices: for tracing, where one operation will stand for it."""
    token = _in_one_piece.set(True)
    try:
        yield
    finally:
        _in_one_piece.reset(token)


def as_bias(mask: paddle.Tensor | None, dtype: paddle.dtype) -> paddle.Tensor | None:
    """[B, K] of 1 (keep) and 0 (discard) -> [B, 1, K] of 0 and -10000 to add to scores; a bias stays as it is."""
    if mask is None or mask.ndim == 3:
        return mask
    return ((1 - mask.astype(dtype)) * -10000.0).unsqueeze(1)


def scaled_dot_product(
    query: paddle.Tensor,
    key: paddle.Tensor,
    value: paddle.Tensor,
    bias: paddle.Tensor | None = None,
    scale: float = 1.0,
    upcast: bool = False,
    slice_size: int | None = None,
) -> paddle.Tensor:
    """`softmax(q k^T * scale + bias) v`, in slices of the heads and queries so that memory stays bounded; exact.

    Args:
        query: [R, Q, D] where R is batch times heads; key, value: [R, K, D].
        bias: added to the scores, broadcastable to [R, Q, K], such as 0 and -10000 for a mask.
        upcast: compute scores and softmax in float32.
        slice_size: rows of R at once, at the most.
    """
    rows, queries, _ = query.shape
    if bias is not None and bias.shape[0] not in (1, rows):
        raise InputError(f"attention mask for {bias.shape[0]} rows, where batch times heads is {rows}")
    rows_at_once, queries_at_once = _slices(rows, queries, key.shape[1], slice_size)

    def attend(q: paddle.Tensor, k: paddle.Tensor, v: paddle.Tensor, bias: paddle.Tensor | None) -> paddle.Tensor:
        q = q * scale
        if upcast:
            q, k = q.astype("float32"), k.astype("float32")
        scores = paddle.matmul(q, k, transpose_y=True)  # [r, q, K]
        if bias is not None:
            scores = scores + bias.astype(scores.dtype)
        return paddle.matmul(F.softmax(scores, axis=-1).astype(v.dtype), v)

    def attend_rows(start: int) -> paddle.Tensor:
        """All queries of a few rows."""
        q, k, v, b = (_part(x, 0, start, rows_at_once) for x in (query, key, value, bias))
        starts = range(0, queries, queries_at_once)
        return _join(
            [attend(_part(q, 1, n, queries_at_once), k, v, _part(b, 1, n, queries_at_once)) for n in starts], 1
        )

    return _join([attend_rows(start) for start in range(0, rows, rows_at_once)], 0)


def _slices(rows: int, queries: int, keys: int, slice_size: int | None) -> tuple[int, int]:
    """How many rows, and how many of their queries, to compute at once."""
    if _in_one_piece.get():
        return rows, queries
    limit = _SCORES_AT_ONCE["gpu" if paddle.get_device().startswith("gpu") else "cpu"]
    limit = max(limit, rows * queries * keys // _MOST_SLICES)
    if queries * keys <= limit:
        return min(slice_size or rows, rows, limit // (queries * keys)), queries
    return 1, max(1, limit // keys)


def _part(x: paddle.Tensor | None, axis: int, start: int, count: int) -> paddle.Tensor | None:
    """`count` of the tensor's slices along an axis; the tensor itself where they are all, or where one is for all."""
    if x is None or x.shape[axis] in (1, count):
        return x
    return x[start : start + count] if axis == 0 else x[:, start : start + count]


def _join(parts: list[paddle.Tensor], axis: int) -> paddle.Tensor:
    return parts[0] if len(parts) == 1 else paddle.concat(parts, axis=axis)


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
            attention_mask = attention_mask.repeat_interleave(self.heads, axis=0)  # [B*heads, 1 or Q, K]
        out = scaled_dot_product(
            *(self._split_heads(x) for x in (query, key, value)),
            bias=attention_mask,
            scale=self.scale,
            upcast=self.upcast,
            slice_size=self.slice_size,
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

    def _split_heads(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, N, heads*D] -> [B*heads, N, D]
        batch, tokens, width = x.shape
        x = x.reshape([batch, tokens, self.heads, width // self.heads]).transpose([0, 2, 1, 3])
        return x.reshape([batch * self.heads, tokens, width // self.heads])

    def _join_heads(self, x: paddle.Tensor) -> paddle.Tensor:  # [B*heads, N, D] -> [B, N, heads*D]
        rows, tokens, width = x.shape
        x = x.reshape([rows // self.heads, self.heads, tokens, width]).transpose([0, 2, 1, 3])
        return x.reshape([rows // self.heads, tokens, self.heads * width])


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
