"""The feed-forward network and the transformer block of the UNets."""

from __future__ import annotations

import paddle
from paddle import nn

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.models.attention.attention import Attention
from ppdiffusers.models.attention.kwargs import warn_about_scale
from ppdiffusers.models.blocks.activations import GEGLU, GELU, ApproximateGELU
from ppdiffusers.models.blocks.normalization import AdaLayerNorm


class FeedForward(nn.Layer):
    """Two linear layers with an activation between them.

    Args:
        dim: channels of the input.
        dim_out: channels of the output; by default `dim`.
        mult: the hidden layer has `mult * dim` channels.
        activation_fn: "geglu", "gelu", "gelu-approximate" or "geglu-approximate".
    """

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
        activations = {
            "geglu": lambda: GEGLU(dim, inner_dim, bias),
            "gelu": lambda: GELU(dim, inner_dim, bias=bias),
            "gelu-approximate": lambda: GELU(dim, inner_dim, approximate=True, bias=bias),
            "geglu-approximate": lambda: ApproximateGELU(dim, inner_dim, bias=bias),
        }
        if activation_fn not in activations:
            raise ConfigError(f"Unknown activation_fn {activation_fn!r}.", expected=f"one of {', '.join(activations)}")
        project_out = nn.Linear(inner_dim, dim_out or dim, bias_attr=None if bias else False)
        self.net = nn.LayerList([activations[activation_fn](), nn.Dropout(dropout), project_out])

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:  # [B, N, dim] -> [B, N, dim_out]
        for layer in self.net:
            hidden_states = layer(hidden_states)
        return hidden_states


class BasicTransformerBlock(nn.Layer):
    """Self-attention, cross-attention and feed-forward, each over a LayerNorm of its input and added to it.

    Args:
        dim: channels of the tokens.
        cross_attention_dim: channels of `encoder_hidden_states`; None for no cross-attention.
        only_cross_attention: the first attention also attends to `encoder_hidden_states`.
        double_self_attention: the second attention is self-attention, too.
        num_embeds_ada_norm: number of timesteps; the norms of both attentions are scaled and shifted by embeddings of
            the timestep. None for plain norms.
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

        def norm() -> nn.Layer:
            return nn.LayerNorm(dim) if num_embeds_ada_norm is None else AdaLayerNorm(dim, num_embeds_ada_norm)

        def attention(context_dim: int | None) -> Attention:
            return Attention(
                query_dim=dim,
                cross_attention_dim=context_dim,
                heads=num_attention_heads,
                dim_head=attention_head_dim,
                dropout=dropout,
                bias=attention_bias,
                upcast_attention=upcast_attention,
            )

        self.only_cross_attention, self.double_self_attention = only_cross_attention, double_self_attention
        self.use_ada_layer_norm = num_embeds_ada_norm is not None  # read by scripts that replace `forward`
        self.use_ada_layer_norm_zero = False
        self.norm1 = norm()
        self.attn1 = attention(cross_attention_dim if only_cross_attention else None)
        self.norm2 = self.attn2 = None
        if cross_attention_dim is not None or double_self_attention:
            self.norm2 = norm()
            self.attn2 = attention(None if double_self_attention else cross_attention_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim, dropout=dropout, activation_fn=activation_fn)

    def forward(
        self,
        hidden_states: paddle.Tensor,
        attention_mask: paddle.Tensor | None = None,
        encoder_hidden_states: paddle.Tensor | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
        timestep: paddle.Tensor | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
    ) -> paddle.Tensor:
        """Transform tokens [B, N, C].

        Args:
            attention_mask: a bias [B, 1 or N, N] of the first attention.
            encoder_hidden_states: [B, S, cross_attention_dim].
            encoder_attention_mask: a bias [B, 1 or N, S] of the second attention.
            timestep: [B], for norms with timestep embeddings.
            cross_attention_kwargs: keyword arguments of the processors of both attentions.
        """
        warn_about_scale(cross_attention_kwargs)
        kwargs = {name: value for name, value in (cross_attention_kwargs or {}).items() if name != "gligen"}
        norm_args = (timestep,) if isinstance(self.norm1, AdaLayerNorm) else ()

        context = encoder_hidden_states if self.only_cross_attention else None
        normed = self.norm1(hidden_states, *norm_args)
        hidden_states = hidden_states + self.attn1(normed, context, attention_mask, **kwargs)
        if self.attn2 is not None:
            context = None if self.double_self_attention else encoder_hidden_states
            normed = self.norm2(hidden_states, *norm_args)
            hidden_states = hidden_states + self.attn2(normed, context, encoder_attention_mask, **kwargs)
        return hidden_states + self.ff(self.norm3(hidden_states))
