"""Embeddings of timesteps, prompts and positions."""

from __future__ import annotations

import math

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.models.blocks.activations import get_activation
from ppdiffusers.runtime.kernels.attention import scaled_dot_product_attention


def as_timesteps(timestep: object, batch_size: int) -> paddle.Tensor:
    """Convert a timestep to a tensor [batch_size]; integers become int64, other numbers float32.

    Args:
        timestep: a number, a numpy scalar or array, or a tensor with 0 or 1 axes.
    """
    if not isinstance(timestep, (paddle.Tensor, paddle.pir.Value)):  # tensors are Values while a program is traced
        values = np.asarray(timestep)
        timestep = paddle.to_tensor(values.astype("int64" if values.dtype.kind in "iub" else "float32"))
    if timestep.ndim != 1:  # in oneDNN programs, the logarithm of a reshaped tensor overwrites it
        timestep = timestep.reshape([-1])
    return timestep.expand([batch_size]) if timestep.shape[0] == 1 else timestep


def get_timestep_embedding(
    timesteps: paddle.Tensor,
    embedding_dim: int,
    flip_sin_to_cos: bool = False,
    downscale_freq_shift: float = 1,
    scale: float = 1,
    max_period: int = 10000,
) -> paddle.Tensor:
    """Compute sinusoidal embeddings (DDPM, arXiv 2006.11239, after "Attention is all you need").

    Args:
        timesteps: [B], integers or floating-point numbers.
        flip_sin_to_cos: return cosines before sines.

    Returns:
        [B, embedding_dim] float32: sines, then cosines.
    """
    half = embedding_dim // 2
    exponent = -math.log(max_period) * paddle.arange(half, dtype="float32")
    frequencies = paddle.exp(exponent / (half - downscale_freq_shift))
    angles = scale * (timesteps.astype("float32").unsqueeze(-1) * frequencies)  # [B, half]
    sine, cosine = _sin_cos(angles)
    embedding = paddle.concat([cosine, sine] if flip_sin_to_cos else [sine, cosine], axis=-1)
    return F.pad(embedding, [0, 1], data_format="NLC") if embedding_dim % 2 else embedding


def _sin_cos(angles: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Compute sine and cosine.

    In Paddle's oneDNN programs, `sin` overwrites its input. The cosine reads the negated angles: it is even.
    """
    negated = -angles
    return paddle.sin(angles), paddle.cos(negated)


class Timesteps(nn.Layer):
    """Sinusoidal embeddings as a layer without parameters: [B] -> [B, num_channels]."""

    def __init__(self, num_channels: int, flip_sin_to_cos: bool, downscale_freq_shift: float, scale: float = 1):
        super().__init__()
        self.settings = (num_channels, flip_sin_to_cos, downscale_freq_shift, scale)

    def forward(self, timesteps: paddle.Tensor) -> paddle.Tensor:
        return get_timestep_embedding(timesteps, *self.settings)


class GaussianFourierProjection(nn.Layer):
    """Random Fourier features of log noise levels (score SDE, arXiv 2011.13456): [B] -> [B, 2 * embedding_size]."""

    def __init__(
        self,
        embedding_size: int = 256,
        scale: float = 1.0,
        set_W_to_weight: bool = True,
        log: bool = True,
        flip_sin_to_cos: bool = False,
    ):
        super().__init__()
        self.log, self.flip_sin_to_cos = log, flip_sin_to_cos
        initializer = nn.initializer.Normal(std=scale)
        self.weight = self.create_parameter([embedding_size], default_initializer=initializer)
        self.weight.stop_gradient = True

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x.astype(self.weight.dtype)
        x = paddle.log(x) if self.log else x
        angles = x.unsqueeze(-1) * self.weight.unsqueeze(0) * (2 * math.pi)  # [B, embedding_size]
        parts = list(_sin_cos(angles))
        return paddle.concat(parts[::-1] if self.flip_sin_to_cos else parts, axis=-1)


class TimestepEmbedding(nn.Layer):
    """Two linear layers over the embedding of a timestep.

    Args:
        in_channels: channels of the embedding.
        time_embed_dim: channels between the layers.
        out_dim: channels of the result; by default `time_embed_dim`.
        post_act_fn: activation of the result; None for no activation.
        cond_proj_dim: channels of a condition that is projected and added to the embedding; None for no condition.
    """

    def __init__(
        self,
        in_channels: int,
        time_embed_dim: int,
        act_fn: str = "silu",
        out_dim: int | None = None,
        post_act_fn: str | None = None,
        cond_proj_dim: int | None = None,
    ):
        super().__init__()
        self.linear_1 = nn.Linear(in_channels, time_embed_dim)
        if cond_proj_dim is not None:
            self.cond_proj = nn.Linear(cond_proj_dim, in_channels, bias_attr=False)
        self.act = get_activation(act_fn)
        self.linear_2 = nn.Linear(time_embed_dim, out_dim or time_embed_dim)
        self.post_act = None if post_act_fn is None else get_activation(post_act_fn)

    def forward(self, sample: paddle.Tensor, condition: paddle.Tensor | None = None) -> paddle.Tensor:
        if condition is not None:
            sample = sample + self.cond_proj(condition)
        sample = self.linear_2(self.act(self.linear_1(sample)))
        return sample if self.post_act is None else self.post_act(sample)


class TextTimeEmbedding(nn.Layer):
    """Attention-pooled prompt that is added to the time embedding (`addition_embed_type="text"`)."""

    def __init__(self, encoder_dim: int, time_embed_dim: int, num_heads: int = 64):
        super().__init__()
        self.norm1 = nn.LayerNorm(encoder_dim)
        self.pool = AttentionPooling(num_heads, encoder_dim)
        self.proj = nn.Linear(encoder_dim, time_embed_dim)
        self.norm2 = nn.LayerNorm(time_embed_dim)

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:  # [B, S, D] -> [B, T]
        return self.norm2(self.proj(self.pool(self.norm1(hidden_states))))


class AttentionPooling(nn.Layer):
    """Attention whose only query is the mean of the tokens (DeepFloyd IF)."""

    def __init__(self, num_heads: int, embed_dim: int):
        super().__init__()
        initializer = nn.initializer.Normal(std=embed_dim**-0.5)
        self.positional_embedding = self.create_parameter([1, embed_dim], default_initializer=initializer)
        self.k_proj = nn.Linear(embed_dim, embed_dim)
        self.q_proj = nn.Linear(embed_dim, embed_dim)
        self.v_proj = nn.Linear(embed_dim, embed_dim)
        self.num_heads, self.dim_per_head = num_heads, embed_dim // num_heads

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, S, D] -> [B, D]
        batch, _, width = x.shape
        query = x.mean(axis=1, keepdim=True) + self.positional_embedding
        tokens = paddle.concat([query, x], axis=1)

        def heads(y: paddle.Tensor) -> paddle.Tensor:  # [B, S, D] -> [B, H, S, D/H]
            return y.reshape([batch, -1, self.num_heads, self.dim_per_head]).transpose([0, 2, 1, 3])

        q, k, v = heads(self.q_proj(query)), heads(self.k_proj(tokens)), heads(self.v_proj(tokens))
        pooled = scaled_dot_product_attention(q, k, v, upcast=True)  # [B, H, 1, D/H]
        return pooled.reshape([batch, width])


class ImagePositionalEmbeddings(nn.Layer):
    """Sum of the embeddings of a code, its row and its column (VQ-Diffusion, arXiv 2111.14822)."""

    def __init__(self, num_embed: int, height: int, width: int, embed_dim: int):
        super().__init__()
        self.emb = nn.Embedding(num_embed, embed_dim)
        self.height_emb = nn.Embedding(height, embed_dim)
        self.width_emb = nn.Embedding(width, embed_dim)

    def forward(self, index: paddle.Tensor) -> paddle.Tensor:  # [B, N] -> [B, N, D], N <= H*W
        positions = self.height_emb.weight.unsqueeze(1) + self.width_emb.weight.unsqueeze(0)  # [H, W, D]
        return self.emb(index) + positions.flatten(0, 1)[: index.shape[1]]
