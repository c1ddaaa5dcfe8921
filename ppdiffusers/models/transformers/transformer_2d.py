"""Transformer over the pixels of a feature map (Latent Diffusion, arXiv 2112.10752, appendix E.2.1)."""

from __future__ import annotations

import paddle
from paddle import nn

from ppdiffusers.models.layers.attention import BasicTransformerBlock


class Transformer2DModel(nn.Layer):
    """Project in, transformer blocks with cross attention, project out, add the input.

    Args:
        in_channels: channels of the feature map [B, C, H, W], a multiple of `norm_num_groups`.
        use_linear_projection: project with linear layers (SD 2.x) instead of 1x1 convolutions (SD 1.x).
    """

    def __init__(
        self,
        num_attention_heads: int = 16,
        attention_head_dim: int = 88,
        in_channels: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.0,
        norm_num_groups: int = 32,
        cross_attention_dim: int | None = None,
        attention_bias: bool = False,
        activation_fn: str = "geglu",
        use_linear_projection: bool = False,
        only_cross_attention: bool = False,
        double_self_attention: bool = False,
        upcast_attention: bool = False,
    ):
        super().__init__()
        inner_dim = num_attention_heads * attention_head_dim
        self.use_linear_projection = use_linear_projection
        self.norm = nn.GroupNorm(norm_num_groups, in_channels, epsilon=1e-6)
        if use_linear_projection:
            self.proj_in = nn.Linear(in_channels, inner_dim)
        else:
            self.proj_in = nn.Conv2D(in_channels, inner_dim, 1)
        self.transformer_blocks = nn.LayerList(
            [
                BasicTransformerBlock(
                    inner_dim,
                    num_attention_heads,
                    attention_head_dim,
                    dropout=dropout,
                    cross_attention_dim=cross_attention_dim,
                    activation_fn=activation_fn,
                    attention_bias=attention_bias,
                    only_cross_attention=only_cross_attention,
                    double_self_attention=double_self_attention,
                    upcast_attention=upcast_attention,
                )
                for _ in range(num_layers)
            ]
        )
        if use_linear_projection:
            self.proj_out = nn.Linear(inner_dim, in_channels)
        else:
            self.proj_out = nn.Conv2D(inner_dim, in_channels, 1)

    def forward(
        self,
        hidden_states: paddle.Tensor,  # [B, C, H, W]
        encoder_hidden_states: paddle.Tensor | None = None,  # [B, S, cross_attention_dim]
        attention_mask: paddle.Tensor | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        residual = hidden_states
        batch, _, height, width = hidden_states.shape
        hidden_states = self.norm(hidden_states)
        if not self.use_linear_projection:
            hidden_states = self.proj_in(hidden_states)
        hidden_states = hidden_states.flatten(2).transpose([0, 2, 1])  # [B, H*W, C]
        if self.use_linear_projection:
            hidden_states = self.proj_in(hidden_states)
        for block in self.transformer_blocks:
            hidden_states = block(hidden_states, encoder_hidden_states, attention_mask, encoder_attention_mask)
        if self.use_linear_projection:
            hidden_states = self.proj_out(hidden_states)
        hidden_states = hidden_states.transpose([0, 2, 1]).reshape([batch, -1, height, width])
        if not self.use_linear_projection:
            hidden_states = self.proj_out(hidden_states)
        return hidden_states + residual
