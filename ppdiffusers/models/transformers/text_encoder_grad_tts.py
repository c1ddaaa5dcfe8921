"""The text encoder of Grad-TTS: the mean mel spectrum and the duration of each symbol.

Popov et al. 2021, https://arxiv.org/abs/2105.06337, section 3.1; the network is that of Glow-TTS (Kim et al. 2020,
https://arxiv.org/abs/2005.11129, appendix A.1), a transformer with relative positions
(Shaw et al. 2018, https://arxiv.org/abs/1803.02155).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.models.attention.masks import sequence_mask
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dummy_inputs import BATCH, SEQUENCE, DummyInputs

PRENET_LAYERS, PRENET_KERNEL, PRENET_DROPOUT = 3, 5, 0.5
MASKED = -1e4  # score of a masked position


@dataclass
class GradTTSTextEncoderOutput(BaseOutput):
    """What the text encoder predicts for each symbol.

    Args:
        mean: mean mel spectrum, [B, M, T].
        log_durations: logarithm of the number of frames, [B, 1, T].
        mask: 1 for symbols, 0 for padding, [B, 1, T].
    """

    mean: paddle.Tensor
    log_durations: paddle.Tensor
    mask: paddle.Tensor


class GradTTSTextEncoder(ModelMixin):
    """Predict the mean mel spectrum and the duration of each symbol.

    Args:
        vocab_size: number of symbols.
        num_mel_bins: number of mel bins.
        hidden_channels: channels of the embedding and of the transformer.
        filter_channels: channels inside of the feed-forward networks.
        duration_channels: channels of the duration predictor.
        num_heads, num_layers: of the transformer.
        kernel_size: of the convolutions in feed-forward networks and duration predictor.
        dropout: while training.
        window_size: largest distance of relative positions.
        sample_rate, hop_size: of the spectrogram: Hz, and samples for each frame.

    Raises:
        ConfigError: a value is not supported; all of them are listed.
    """

    key_mappings = ()

    @register_to_config
    def __init__(
        self,
        vocab_size: int = 149,
        num_mel_bins: int = 80,
        hidden_channels: int = 192,
        filter_channels: int = 768,
        duration_channels: int = 256,
        num_heads: int = 2,
        num_layers: int = 6,
        kernel_size: int = 3,
        dropout: float = 0.1,
        window_size: int = 4,
        sample_rate: int = 22050,
        hop_size: int = 256,
    ):
        super().__init__()
        self._check_config()
        self.emb = nn.Embedding(vocab_size, hidden_channels)
        self.prenet = Prenet(hidden_channels)
        self.layers = nn.LayerList(
            [
                EncoderLayer(hidden_channels, filter_channels, num_heads, kernel_size, window_size, dropout)
                for _ in range(num_layers)
            ]
        )
        self.mean_proj = nn.Conv1D(hidden_channels, num_mel_bins, 1)
        self.duration_predictor = DurationPredictor(hidden_channels, duration_channels, kernel_size, dropout)

    def forward(
        self,
        input_ids: paddle.Tensor,  # [B, T]
        lengths: paddle.Tensor | None = None,  # [B]
        return_dict: bool = True,
    ) -> GradTTSTextEncoderOutput | tuple[paddle.Tensor, ...]:
        """Encode ids of symbols [B, T], of which the first `lengths` [B] of each row count; by default all.

        Raises:
            InputError: the shapes do not fit.
        """
        _check_shapes(input_ids, lengths)
        x = self.emb(input_ids).transpose([0, 2, 1]) * math.sqrt(self.config.hidden_channels)  # [B, C, T]
        length = input_ids.shape[1]
        lengths = paddle.full_like(input_ids[:, 0], length) if lengths is None else lengths
        mask = sequence_mask(lengths, length, x.dtype)  # [B, 1, T]
        x = self.prenet(x, mask)
        bias = (1 - mask.unsqueeze(2) * mask.unsqueeze(3)) * MASKED  # [B, 1, T, T]
        for layer in self.layers:
            x = layer(x, mask, bias)
        x = x * mask
        outputs = (self.mean_proj(x) * mask, self.duration_predictor(x, mask), mask)
        return GradTTSTextEncoderOutput(*outputs) if return_dict else outputs

    def _check_config(self) -> None:
        config = self.config
        problems = [
            f"{name}={config[name]} is not positive" for name in ("num_heads", "num_layers") if config[name] < 1
        ]
        if config.num_heads > 0 and config.hidden_channels % config.num_heads:
            problems.append(
                f"hidden_channels={config.hidden_channels} is not a multiple of {config.num_heads} num_heads"
            )
        if config.kernel_size % 2 != 1:
            problems.append(f"kernel_size={config.kernel_size} is not an odd number")
        if config.window_size < 0:
            problems.append(f"window_size={config.window_size} is negative")
        if problems:
            raise ConfigError("This GradTTSTextEncoder cannot be built.", problems=problems)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        lengths = np.array([SEQUENCE] * (BATCH - 1) + [SEQUENCE - 2])
        return {"input_ids": rng.integers(0, self.config.vocab_size, (BATCH, SEQUENCE)), "lengths": lengths}


class ChannelNorm(nn.Layer):
    """Layer normalization over the channels of [B, C, T]."""

    def __init__(self, channels: int, epsilon: float = 1e-4):
        super().__init__()
        self.epsilon = epsilon
        self.gamma = self.create_parameter([channels], default_initializer=nn.initializer.Constant(1))
        self.beta = self.create_parameter([channels], is_bias=True)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, T] -> [B, C, T]
        centred = x - x.mean(axis=1, keepdim=True)
        variance = (centred * centred).mean(axis=1, keepdim=True)
        normalized = centred * paddle.rsqrt(variance + self.epsilon)
        return normalized * self.gamma.reshape([1, -1, 1]) + self.beta.reshape([1, -1, 1])


class Prenet(nn.Layer):
    """Convolutions over the embedded symbols, with a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.LayerList(
            [nn.Conv1D(channels, channels, PRENET_KERNEL, padding=PRENET_KERNEL // 2) for _ in range(PRENET_LAYERS)]
        )
        self.norms = nn.LayerList([ChannelNorm(channels) for _ in range(PRENET_LAYERS)])
        self.dropout = nn.Dropout(PRENET_DROPOUT)
        self.proj = nn.Conv1D(channels, channels, 1)

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:  # [B, C, T] -> [B, C, T]
        y = x
        for conv, norm in zip(self.convs, self.norms, strict=True):
            y = self.dropout(F.relu(norm(conv(y * mask))))
        return (x + self.proj(y)) * mask


class EncoderLayer(nn.Layer):
    """A transformer layer that normalizes after each sum."""

    def __init__(
        self, channels: int, filter_channels: int, num_heads: int, kernel_size: int, window_size: int, dropout: float
    ):
        super().__init__()
        self.attention = RelativeAttention(channels, num_heads, window_size, dropout)
        self.norm_1 = ChannelNorm(channels)
        self.conv_1 = nn.Conv1D(channels, filter_channels, kernel_size, padding=kernel_size // 2)
        self.conv_2 = nn.Conv1D(filter_channels, channels, kernel_size, padding=kernel_size // 2)
        self.norm_2 = ChannelNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:  # [B, C, T]
        x = x * mask
        x = self.norm_1(x + self.dropout(self.attention(x, bias)))
        y = self.dropout(F.relu(self.conv_1(x * mask)))
        y = self.conv_2(y * mask) * mask
        return self.norm_2(x + self.dropout(y))


class RelativeAttention(nn.Layer):
    """Self-attention with learned keys and values for the distances -window_size ... window_size.

    score(i, j) = q_i (k_j + r_{j-i}) / sqrt(D), out_i = sum_j p(i, j) (v_j + s_{j-i}); r and s are shared by all heads,
    and 0 for larger distances.
    """

    def __init__(self, channels: int, num_heads: int, window_size: int, dropout: float):
        super().__init__()
        self.num_heads, self.window_size = num_heads, window_size
        width = channels // num_heads
        initializer = nn.initializer.Normal(std=width**-0.5)
        shape = [1, 2 * window_size + 1, width]
        self.emb_rel_k = self.create_parameter(shape, default_initializer=initializer)
        self.emb_rel_v = self.create_parameter(shape, default_initializer=initializer)
        self.conv_q = nn.Conv1D(channels, channels, 1)
        self.conv_k = nn.Conv1D(channels, channels, 1)
        self.conv_v = nn.Conv1D(channels, channels, 1)
        self.conv_o = nn.Conv1D(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor, bias: paddle.Tensor) -> paddle.Tensor:  # [B, C, T] -> [B, C, T]
        batch, channels, length = x.shape

        def heads(y: paddle.Tensor) -> paddle.Tensor:  # [B, C, T] -> [B, H, T, D]
            return y.reshape([batch, self.num_heads, channels // self.num_heads, length]).transpose([0, 1, 3, 2])

        q, k, v = heads(self.conv_q(x)), heads(self.conv_k(x)), heads(self.conv_v(x))
        near = min(self.window_size, length)  # the largest distance that occurs, or one more
        rows = slice(self.window_size - near, self.window_size + near + 1)
        rel_k, rel_v = self.emb_rel_k[:, rows], self.emb_rel_v[:, rows]  # [1, 2 near + 1, D]

        by_distance = paddle.matmul(q, rel_k, transpose_y=True)  # [B, H, T, 2 near + 1]
        scores = paddle.matmul(q, k, transpose_y=True) + distances_to_positions(by_distance)  # [B, H, T, T]
        weights = self.dropout(F.softmax(scores * (q.shape[-1] ** -0.5) + bias, axis=-1))
        out = paddle.matmul(weights, v) + paddle.matmul(positions_to_distances(weights, near), rel_v)  # [B, H, T, D]
        return self.conv_o(out.transpose([0, 1, 3, 2]).reshape([batch, channels, length]))


def distances_to_positions(x: paddle.Tensor) -> paddle.Tensor:
    """Turn values by distance j - i [B, H, T, 2 N + 1], N <= T, into values by position j [B, H, T, T].

    A row of 2 T + 1 distances, read as one of 2 T entries, moves by one entry from row to row (Huang et al. 2018,
    https://arxiv.org/abs/1809.04281, section 3.4.1).
    """
    batch, heads, length, width = x.shape
    far = length - width // 2
    rows = F.pad(x, [far, far, 0, 0])  # [B, H, T, 2 T + 1]
    flat = rows.reshape([batch, heads, length * (2 * length + 1)])[:, :, length:]
    return flat.reshape([batch, heads, length, 2 * length])[:, :, :, :length]


def positions_to_distances(x: paddle.Tensor, near: int) -> paddle.Tensor:
    """Turn values by position j [B, H, T, T] into values by distance j - i [B, H, T, 2 near + 1], near <= T."""
    batch, heads, length, _ = x.shape
    flat = F.pad(x, [0, length, 0, 0]).reshape([batch, heads, 2 * length * length])
    rows = F.pad(flat, [length, 0]).reshape([batch, heads, length, 2 * length + 1])
    return rows[:, :, :, length - near : length + near + 1]


class DurationPredictor(nn.Layer):
    """Predict the logarithm of the number of frames of each symbol."""

    def __init__(self, channels: int, hidden_channels: int, kernel_size: int, dropout: float):
        super().__init__()
        self.conv_1 = nn.Conv1D(channels, hidden_channels, kernel_size, padding=kernel_size // 2)
        self.norm_1 = ChannelNorm(hidden_channels)
        self.conv_2 = nn.Conv1D(hidden_channels, hidden_channels, kernel_size, padding=kernel_size // 2)
        self.norm_2 = ChannelNorm(hidden_channels)
        self.proj = nn.Conv1D(hidden_channels, 1, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:  # [B, C, T] -> [B, 1, T]
        x = self.dropout(self.norm_1(F.relu(self.conv_1(x * mask))))
        x = self.dropout(self.norm_2(F.relu(self.conv_2(x * mask))))
        return self.proj(x * mask) * mask


def _check_shapes(input_ids: paddle.Tensor, lengths: paddle.Tensor | None) -> None:
    if input_ids.ndim != 2 or input_ids.shape[1] == 0:
        raise InputError(f"GradTTSTextEncoder was given ids of shape {list(input_ids.shape)}.", expected="[B, T]")
    if lengths is not None and list(lengths.shape) != [input_ids.shape[0]]:
        raise InputError(
            f"GradTTSTextEncoder was given lengths of shape {list(lengths.shape)}.",
            expected=f"[{input_ids.shape[0]}], one for each text",
        )
