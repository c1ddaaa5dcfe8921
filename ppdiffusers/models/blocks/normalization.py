"""Norms that are scaled and shifted by the timestep."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn


class AdaLayerNorm(nn.Layer):
    """LayerNorm that is scaled and shifted by a learned embedding of the timestep.

    VQ-Diffusion (arXiv 2111.14822, section 4.1).

    Args:
        embedding_dim: D, the channels.
        num_embeddings: number of timesteps.
    """

    def __init__(self, embedding_dim: int, num_embeddings: int):
        super().__init__()
        self.emb = nn.Embedding(num_embeddings, embedding_dim)
        self.linear = nn.Linear(embedding_dim, 2 * embedding_dim)
        self.norm = nn.LayerNorm(embedding_dim, weight_attr=False, bias_attr=False)

    def forward(self, x: paddle.Tensor, timestep: paddle.Tensor) -> paddle.Tensor:
        """Normalize x [B, N, D]; `timestep` is [B], integers."""
        modulation = self.linear(F.silu(self.emb(timestep))).unsqueeze(1)  # [B, 1, 2D]
        scale, shift = modulation.chunk(2, axis=-1)
        return self.norm(x) * (1 + scale) + shift


class AdaGroupNorm(nn.Layer):
    """GroupNorm that is scaled and shifted by a linear projection of the time embedding.

    Args:
        embedding_dim: T, the channels of the time embedding.
        out_dim: C, the channels of the input.
        num_groups: groups of the norm.
    """

    def __init__(self, embedding_dim: int, out_dim: int, num_groups: int, eps: float = 1e-5):
        super().__init__()
        self.linear = nn.Linear(embedding_dim, out_dim * 2)
        self.norm = nn.GroupNorm(num_groups, out_dim, epsilon=eps, weight_attr=False, bias_attr=False)

    def forward(self, x: paddle.Tensor, emb: paddle.Tensor) -> paddle.Tensor:
        """Normalize x [B, C, H, W]; `emb` is [B, T]."""
        scale, shift = self.linear(emb).unsqueeze(-1).unsqueeze(-1).chunk(2, axis=1)  # [B, C, 1, 1]
        return self.norm(x) * (1 + scale) + shift
