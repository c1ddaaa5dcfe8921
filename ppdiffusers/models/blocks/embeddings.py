"""Embeddings of the timestep and of class labels."""

from __future__ import annotations

import math

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.models.blocks.activations import get_activation


def as_timesteps(timestep: object, batch_size: int) -> paddle.Tensor:
    """A timestep given as a number, a numpy scalar or array, or a Tensor of 0 or 1 axes, as a Tensor [batch_size].

    Integers stay integers (int64); numbers with a fraction become float32.
    """
    if not isinstance(timestep, (paddle.Tensor, paddle.pir.Value)):  # a Value is a Tensor while a program is traced
        values = np.asarray(timestep)
        timestep = paddle.to_tensor(values.astype("int64" if values.dtype.kind in "iub" else "float32"))
    if timestep.ndim != 1:  # oneDNN programs write the logarithm of a reshaped tensor over it
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
    """Sinusoidal embedding (DDPM, arXiv 2006.11239, after "Attention is all you need").

    Args:
        timesteps: [B], any number type.
    Returns:
        [B, embedding_dim] float32: sines then cosines, or the other way round when flipped.
    """
    half = embedding_dim // 2
    exponent = -math.log(max_period) * paddle.arange(half, dtype="float32")
    frequencies = paddle.exp(exponent / (half - downscale_freq_shift))
    angles = scale * (timesteps.astype("float32").unsqueeze(-1) * frequencies)  # [B, half]
    sine, cosine = _sin_cos(angles)
    embedding = paddle.concat([cosine, sine] if flip_sin_to_cos else [sine, cosine], axis=-1)
    return F.pad(embedding, [0, 1], data_format="NLC") if embedding_dim % 2 else embedding


def _sin_cos(angles: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """Sine and cosine. In Paddle's oneDNN programs `sin` overwrites what it reads, so the cosine, which is even,
    gets a copy that is made before."""
    mirrored = -angles
    return paddle.sin(angles), paddle.cos(mirrored)


class Timesteps(nn.Layer):
    """`get_timestep_embedding` as a layer without parameters."""

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
        draw = nn.initializer.Normal(std=scale)
        self.weight = self.create_parameter([embedding_size], default_initializer=draw)
        self.weight.stop_gradient = True

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = x.astype(self.weight.dtype)
        x = paddle.log(x) if self.log else x
        angles = x.unsqueeze(-1) * self.weight.unsqueeze(0) * (2 * math.pi)  # [B, embedding_size]
        parts = list(_sin_cos(angles))
        return paddle.concat(parts[::-1] if self.flip_sin_to_cos else parts, axis=-1)


class TimestepEmbedding(nn.Layer):
    """Two linear layers over the raw embedding, with an optional condition added before them."""

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
    """Attention-pooled text as an addition to the time embedding (`addition_embed_type="text"`)."""

    def __init__(self, encoder_dim: int, time_embed_dim: int, num_heads: int = 64):
        super().__init__()
        self.norm1 = nn.LayerNorm(encoder_dim)
        self.pool = AttentionPooling(num_heads, encoder_dim)
        self.proj = nn.Linear(encoder_dim, time_embed_dim)
        self.norm2 = nn.LayerNorm(time_embed_dim)

    def forward(self, hidden_states: paddle.Tensor) -> paddle.Tensor:  # [B, S, D] -> [B, T]
        return self.norm2(self.proj(self.pool(self.norm1(hidden_states))))


class AttentionPooling(nn.Layer):
    """One attention step whose only query is the mean token (IF, after DeepFloyd's original)."""

    def __init__(self, num_heads: int, embed_dim: int):
        super().__init__()
        draw = nn.initializer.Normal(std=embed_dim**-0.5)
        self.positional_embedding = self.create_parameter([1, embed_dim], default_initializer=draw)
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
        scores = paddle.matmul(q, k, transpose_y=True) * self.dim_per_head**-0.5
        weights = F.softmax(scores.astype("float32"), axis=-1).astype(x.dtype)
        return paddle.matmul(weights, v).transpose([0, 2, 1, 3]).reshape([batch, width])


class ImagePositionalEmbeddings(nn.Layer):
    """Embedding of a code plus those of its row and of its column (VQ-Diffusion, arXiv 2111.14822)."""

    def __init__(self, num_embed: int, height: int, width: int, embed_dim: int):
        super().__init__()
        self.emb = nn.Embedding(num_embed, embed_dim)
        self.height_emb = nn.Embedding(height, embed_dim)
        self.width_emb = nn.Embedding(width, embed_dim)

    def forward(self, index: paddle.Tensor) -> paddle.Tensor:  # [B, H*W] -> [B, H*W, D]
        places = self.height_emb.weight.unsqueeze(1) + self.width_emb.weight.unsqueeze(0)  # [H, W, D]
        return self.emb(index) + places.flatten(0, 1)
