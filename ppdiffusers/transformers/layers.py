"""What the encoders share: activations by their configuration names, and attention of many heads."""

from __future__ import annotations

from collections.abc import Callable

import paddle
import paddle.nn.functional as F

from ppdiffusers.core.errors import ConfigError

_ACTIVATIONS = {
    "quick_gelu": lambda x: x * F.sigmoid(1.702 * x),
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate=True),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "tanh": paddle.tanh,
}


def get_activation(name: str) -> Callable[[paddle.Tensor], paddle.Tensor]:
    """The function that a configuration's `hidden_act` names.

    Raises:
        ConfigError: no such activation; the known names are listed.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"Unknown hidden_act {name!r}.", expected=", ".join(_ACTIVATIONS))
    return _ACTIVATIONS[name]


def check_heads(width: int, heads: int) -> None:
    """The width divides into the heads.

    Raises:
        ConfigError: it does not.
    """
    if width % heads:
        raise ConfigError(f"hidden_size {width} is not a multiple of num_attention_heads {heads}.")


def attend(
    query: paddle.Tensor,
    key: paddle.Tensor,
    value: paddle.Tensor,
    heads: int,
    bias: paddle.Tensor | None = None,
    dropout: float = 0.0,
) -> tuple[paddle.Tensor, paddle.Tensor]:
    """`softmax(q k^T / sqrt(D / heads) + bias) v` for each head.

    Args:
        query: [B, Q, D]; key, value: [B, K, D].
        bias: added to the scores, broadcastable to [B, heads, Q, K].
        dropout: share of the weights that is left out; 0 unless training.

    Returns:
        The mixed values [B, Q, D] and the weights [B, heads, Q, K].
    """
    batch, _, width = query.shape

    def split(x: paddle.Tensor) -> paddle.Tensor:  # [B, S, D] -> [B, heads, S, D / heads]
        return x.reshape([batch, -1, heads, width // heads]).transpose([0, 2, 1, 3])

    scores = paddle.matmul(split(query), split(key), transpose_y=True) * (width // heads) ** -0.5
    if bias is not None:
        scores = scores + bias
    weights = F.softmax(scores.astype("float32"), axis=-1).astype(query.dtype)
    mixed = paddle.matmul(F.dropout(weights, dropout) if dropout else weights, split(value))
    return mixed.transpose([0, 2, 1, 3]).reshape([batch, -1, width]), weights


def mask_bias(allowed: paddle.Tensor, dtype: paddle.dtype) -> paddle.Tensor:
    """0 where a token may look, the dtype's lowest number elsewhere; of the shape of `allowed` (boolean)."""
    lowest = paddle.full([1], float(paddle.finfo(dtype).min), dtype=dtype)
    return paddle.where(allowed, paddle.zeros([1], dtype=dtype), lowest)
