"""Activations and multi-head attention, shared by the encoders."""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.nn.functional as F

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.runtime.kernels.attention import scaled_dot_product_attention


def quick_gelu(x: paddle.Tensor) -> paddle.Tensor:
    return x * F.sigmoid(1.702 * x)


def gelu_tanh(x: paddle.Tensor) -> paddle.Tensor:
    return F.gelu(x, approximate=True)


# Functions with names: networks that refer to them can be pickled.
_ACTIVATIONS: dict[str, Callable[[paddle.Tensor], paddle.Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": F.gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": paddle.tanh,
}


def get_activation(name: str) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """Return the activation function for a configuration's `hidden_act`.

    Raises:
        ConfigError: the name is unknown; the message lists the known names.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"Unknown hidden_act {name!r}.", expected=", ".join(_ACTIVATIONS))
    return _ACTIVATIONS[name]


def check_heads(hidden_size: int, num_heads: int) -> None:
    """Check that the hidden size is a multiple of the number of attention heads.

    Raises:
        ConfigError: it is not.
    """
    if hidden_size % num_heads:
        raise ConfigError(f"hidden_size {hidden_size} is not a multiple of num_attention_heads {num_heads}.")


def multi_head_attention(
    query: paddle.Tensor,
    key: paddle.Tensor,
    value: paddle.Tensor,
    heads: int,
    bias: paddle.Tensor | None = None,
    dropout: float = 0.0,
    output_attentions: bool = False,
    scale: float | None = None,
) -> tuple[paddle.Tensor, paddle.Tensor | None]:
    """Compute `softmax(q k^T * scale + bias) v` for each head.

    Args:
        query: [B, Q, D].
        key: [B, K, D].
        value: [B, K, D].
        heads: number of attention heads.
        bias: added to the scores; broadcastable to [B, heads, Q, K].
        dropout: probability of dropping an attention weight; 0 in evaluation.
        output_attentions: return the attention weights too. They are computed without the fused kernel.
        scale: factor of the scores; by default `(D / heads) ** -0.5`.

    Returns:
        The result [B, Q, D], and the attention weights [B, heads, Q, K] or None.
    """
    batch, _, width = query.shape
    query, key, value = (  # [B, heads, S, D / heads]
        x.reshape([batch, -1, heads, width // heads]).transpose([0, 2, 1, 3]) for x in (query, key, value)
    )
    if output_attentions:
        weights = attention_weights(query, key, bias, scale)  # [B, heads, Q, K]
        mixed = paddle.matmul(F.dropout(weights, dropout) if dropout else weights, value)  # [B, heads, Q, D / heads]
    else:
        weights = None
        mixed = scaled_dot_product_attention(query, key, value, bias, scale=scale, dropout=dropout, upcast=True)
    return mixed.transpose([0, 2, 1, 3]).reshape([batch, -1, width]), weights


def attention_weights(
    query: paddle.Tensor, key: paddle.Tensor, bias: paddle.Tensor | None, scale: float | None = None
) -> paddle.Tensor:
    """Compute attention weights [B, H, Q, K] of query [B, H, Q, D] and key [B, H, K, D]; softmax is in float32."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = paddle.matmul(query, key, transpose_y=True) * scale  # [B, H, Q, K]
    if bias is not None:
        scores = scores + bias
    return F.softmax(scores.astype("float32"), axis=-1).astype(query.dtype)


def mask_to_bias(mask: paddle.Tensor, dtype: paddle.dtype, bias: paddle.Tensor | None = None) -> paddle.Tensor:
    """Convert a boolean mask (True: attend) to a bias: `bias`, by default 0, or the lowest finite number of `dtype`.

    It selects instead of adding: engines reorder sums, and a bias is lost next to the lowest number.
    """
    lowest = paddle.full([1], float(paddle.finfo(dtype).min), dtype=dtype)
    return paddle.where(mask, paddle.zeros([1], dtype=dtype) if bias is None else bias, lowest)
