"""The schedule network of BDDM: a globally attentive, locally recurrent network (GALR) over the waveform.

Lam et al. 2021, https://arxiv.org/abs/2101.05014, section 2.2; its use: https://arxiv.org/abs/2203.13508, section 4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal

LOW_DIM, NUM_HEADS, MAX_SEGMENTS = 8, 8, 5000


class BDDMScheduleModel(ModelMixin):
    """Estimate the next noise scale beta from a noisy waveform.

    Args:
        blocks: number of GALR blocks.
        input_dim: channels of a frame.
        hidden_dim: width of the recurrent layers.
        window_length: samples in a frame; frames overlap by half.
        segment_size: frames in a segment; segments overlap by half.

    Raises:
        ConfigError: a value is not supported; all of them are listed.
    """

    key_mappings = ()

    @register_to_config
    def __init__(
        self,
        blocks: int = 2,
        input_dim: int = 128,
        hidden_dim: int = 128,
        window_length: int = 8,
        segment_size: int = 64,
    ):
        super().__init__()
        self._check_config()
        self.encoder = nn.Conv1D(1, input_dim, window_length, window_length // 2, bias_attr=False)
        self.bottleneck = nn.Conv1D(input_dim, input_dim, 1, bias_attr=False)
        self.blocks = nn.LayerList([GALRBlock(input_dim, hidden_dim, segment_size) for _ in range(blocks)])
        self.gate_slope = self.create_parameter([1])
        self.gate = nn.Conv2D(input_dim, 1, 1)

    def forward(
        self, sample: paddle.Tensor, beta_next: paddle.Tensor, delta: paddle.Tensor
    ) -> paddle.Tensor:  # [B, N], [B], [B] -> [B]
        """Return beta of the next step, between 0 and min(beta_next, delta).

        Args:
            sample: the noisy waveform, [B, N].
            beta_next: beta of the step before, [B].
            delta: the variance 1 - alpha^2 of the noise in `sample`, [B].
        """
        sample, beta_next, delta = computable(sample), computable(beta_next), computable(delta)
        window, segment = self.config.window_length, self.config.segment_size
        frames = F.relu(self.encoder(_pad(sample.unsqueeze(1), window)))  # [B, D, F]
        frames = _pad(self.bottleneck(frames), segment)
        x = self._segments(frames)  # [B, D, K, S]
        for block in self.blocks:
            x = block(x)
        x = F.relu(x) - self.gate_slope * F.relu(-x)  # PReLU
        ratio = F.sigmoid(self.gate(x).mean(axis=[1, 2, 3]))  # [B]
        return paddle.minimum(beta_next, delta) * ratio

    def _segments(self, frames: paddle.Tensor) -> paddle.Tensor:  # [B, D, F] -> [B, D, K, S]
        size = self.config.segment_size
        batch, channels = frames.shape[:2]
        halves = [frames[:, :, : -(size // 2)], frames[:, :, size // 2 :]]
        parts = [half.reshape([batch, channels, -1, size]) for half in halves]
        segments = paddle.concat(parts, axis=-1).reshape([batch, channels, -1, size])  # overlapping ones side by side
        return segments.transpose([0, 1, 3, 2])

    def _check_config(self) -> None:
        config = self.config
        problems = [
            f"{name}={config[name]} is not a positive even number"
            for name in ("window_length", "segment_size")
            if config[name] < 2 or config[name] % 2
        ]
        if config.input_dim < 1 or config.input_dim % NUM_HEADS:
            problems.append(f"input_dim={config.input_dim} is not a multiple of {NUM_HEADS}")
        if problems:
            raise ConfigError("This BDDMScheduleModel cannot be built.", problems=problems)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {
            "sample": normal(rng, BATCH, 3 * self.config.window_length * self.config.segment_size),  # [B, N]
            "beta_next": np.array([0.3] * BATCH, dtype=np.float32),  # [B]
            "delta": np.array([0.4] * BATCH, dtype=np.float32),  # [B]
        }

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        return {"beta": network(**inputs)}


class GALRBlock(nn.Layer):
    """Process the frames inside each segment, then the segments of each frame position."""

    def __init__(self, channels: int, hidden_channels: int, segment_size: int):
        super().__init__()
        self.local_rnn = BidirectionalLSTM(channels, hidden_channels)
        self.local_norm = nn.GroupNorm(1, channels)
        self.global_rnn = GlobalAttention(channels)
        self.global_norm = nn.GroupNorm(1, channels)
        self.ld_map = nn.Linear(segment_size, LOW_DIM)
        self.ld_inv_map = nn.Linear(LOW_DIM, segment_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, D, K, S]
        batch, channels, size, segments = x.shape
        local = x.transpose([0, 3, 2, 1]).reshape([-1, size, channels])  # [B S, K, D]
        local = self.local_rnn(local).reshape([batch, segments, size, channels]).transpose([0, 3, 2, 1])
        x = x + self.local_norm(local)
        mapped = self.ld_map(x.transpose([0, 3, 1, 2]))  # [B, S, D, low]
        mapped = mapped.transpose([3, 0, 1, 2]).reshape([-1, segments, channels])  # [low B, S, D]
        mapped = self.global_rnn(mapped).reshape([LOW_DIM, batch, segments, channels]).transpose([1, 2, 3, 0])
        return x + self.global_norm(self.ld_inv_map(mapped).transpose([0, 2, 3, 1]))


class BidirectionalLSTM(nn.Layer):
    """A bidirectional LSTM with learned initial states and a projection; the weights have PyTorch's names."""

    def __init__(self, channels: int, hidden_channels: int):
        super().__init__()
        self.rnn = nn.Layer()
        for suffix in ("l0", "l0_reverse"):
            for name, shape in {
                "weight_ih": [4 * hidden_channels, channels],
                "weight_hh": [4 * hidden_channels, hidden_channels],
                "bias_ih": [4 * hidden_channels],
                "bias_hh": [4 * hidden_channels],
            }.items():
                setattr(self.rnn, f"{name}_{suffix}", self.rnn.create_parameter(shape))
        self.cell_init = self.create_parameter([1, 1, hidden_channels])
        self.hidden_init = self.create_parameter([1, 1, hidden_channels])
        self.proj = nn.Linear(2 * hidden_channels, channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, K, D]
        forward, backward = self._states(x, "l0"), self._states(x, "l0_reverse")
        return self.proj(paddle.concat([forward, backward], axis=-1))

    def _states(self, x: paddle.Tensor, suffix: str) -> paddle.Tensor:  # [B, K, D] -> [B, K, H]
        steps = range(x.shape[1])[:: -1 if suffix.endswith("reverse") else 1]
        input_weight, weight, input_bias, bias = (
            getattr(self.rnn, f"{name}_{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        inputs = paddle.matmul(x, input_weight, transpose_y=True) + (input_bias + bias)  # [B, K, 4 H]
        hidden, cell = self.hidden_init[0], self.cell_init[0]  # [1, H]
        states = {}
        for n in steps:
            gates = inputs[:, n] + paddle.matmul(hidden, weight, transpose_y=True)  # [B, 4 H]
            i, f, g, o = gates.chunk(4, axis=-1)
            cell = F.sigmoid(f) * cell + F.sigmoid(i) * F.tanh(g)
            hidden = F.sigmoid(o) * F.tanh(cell)
            states[n] = hidden
        return paddle.stack([states[n] for n in sorted(states)], axis=1)


class GlobalAttention(nn.Layer):
    """Self-attention over segments, after a norm and a positional encoding."""

    def __init__(self, channels: int):
        super().__init__()
        self.attn_in_norm = nn.LayerNorm(channels)
        self.register_buffer("pe", paddle.to_tensor(_positions(channels)))  # [5000, 1, D]
        self.in_proj = nn.Linear(channels, 3 * channels)
        self.out_proj = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, S, D]
        batch, length, channels = x.shape
        x = self.attn_in_norm(x) + self.pe[:length].transpose([1, 0, 2])
        shape = [batch, length, NUM_HEADS, channels // NUM_HEADS]
        parts = self.in_proj(x).chunk(3, axis=-1)
        q, k, v = (part.reshape(shape).transpose([0, 2, 1, 3]) for part in parts)  # [B, heads, S, D / heads]
        weights = F.softmax(paddle.matmul(q, k, transpose_y=True) * (channels // NUM_HEADS) ** -0.5)
        out = self.out_proj(paddle.matmul(weights, v).transpose([0, 2, 1, 3]).reshape([batch, length, channels]))
        return self.norm(out + out)  # not x + out: the published weights were trained with this


def _pad(x: paddle.Tensor, size: int) -> paddle.Tensor:
    """Pad [B, C, N] with zeros so that half-overlapping windows of `size` cover it."""
    hop = size // 2
    rest = size - (hop + x.shape[-1] % size) % size
    return F.pad(x, [hop, rest + hop])


def _positions(channels: int) -> np.ndarray:
    """Sinusoidal positions, float32 [5000, 1, D]; checkpoints contain them, too."""
    frequencies = np.exp(np.arange(0, channels, 2, dtype=np.float32) * (-math.log(10000.0) / channels))
    angles = np.arange(MAX_SEGMENTS, dtype=np.float32)[:, None] * frequencies  # [5000, D / 2]
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(MAX_SEGMENTS, 1, channels).astype(np.float32)
