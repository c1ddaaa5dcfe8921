"""The decoder of Grad-TTS: a UNet that treats a mel spectrogram as an image and predicts its score.

Popov et al. 2021, https://arxiv.org/abs/2105.06337, section 3.2: the UNet of DDPM with linear attention
(Shen et al. 2018, https://arxiv.org/abs/1812.01243), fewer channels and fewer levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.blocks.embeddings import TimestepEmbedding, as_timesteps, get_timestep_embedding
from ppdiffusers.models.modeling_outputs import UNet1DOutput
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal

HEADS, HEAD_CHANNELS = 4, 32  # of the linear attention


class UNetGradTTSModel(ModelMixin):
    """Predict the score of a noisy mel spectrogram, given the mean that the text encoder predicts.

    Args:
        dim: channels of the first level.
        dim_mults: channels of each level as multiples of `dim`.
        groups: of the group normalization.
        n_spks: number of speakers; 1 for no choice.
        spk_emb_dim: channels of the embedding of a speaker.
        n_feats: number of mel bins.
        pe_scale: factor of the time, from 0 to 1, in front of its sinusoids.

    Raises:
        ConfigError: a value is not supported; all of them are listed.
    """

    key_mappings = ()

    @register_to_config
    def __init__(
        self,
        dim: int = 64,
        dim_mults: tuple[int, ...] = (1, 2, 4),
        groups: int = 8,
        n_spks: int = 1,
        spk_emb_dim: int = 64,
        n_feats: int = 80,
        pe_scale: float = 1000,
    ):
        super().__init__()
        self._check_config()
        if n_spks > 1:
            self.speakers = nn.Embedding(n_spks, spk_emb_dim)
            self.speaker_embedding = TimestepEmbedding(spk_emb_dim, 4 * spk_emb_dim, "mish", out_dim=n_feats)
        self.time_embedding = TimestepEmbedding(dim, 4 * dim, "mish", out_dim=dim)
        channels = [dim * factor for factor in dim_mults]
        inputs = [3 if n_spks > 1 else 2, *channels]
        last = len(channels) - 1

        def level(source: int, target: int, resample: nn.Layer | None) -> Level:
            return Level(source, target, dim, groups, resample)

        self.downs = nn.LayerList(
            [
                level(inputs[n], width, None if n == last else nn.Conv2D(width, width, 3, 2, 1))
                for n, width in enumerate(channels)
            ]
        )
        self.mid_block1 = ResnetBlock(channels[-1], channels[-1], dim, groups)
        self.mid_attn = LinearAttention(channels[-1])
        self.mid_block2 = ResnetBlock(channels[-1], channels[-1], dim, groups)
        self.ups = nn.LayerList(
            [
                level(2 * channels[n + 1], channels[n], nn.Conv2DTranspose(channels[n], channels[n], 4, 2, 1))
                for n in reversed(range(last))
            ]
        )
        self.final_block = Block(dim, dim, groups)
        self.final_conv = nn.Conv2D(dim, 1, 1)

    @property
    def frame_multiple(self) -> int:
        """The numbers of frames and of mel bins are multiples of this."""
        return 2 ** (len(self.config.dim_mults) - 1)

    def forward(
        self,
        sample: paddle.Tensor,  # [B, M, L]
        timestep: paddle.Tensor | float,
        mu: paddle.Tensor,  # [B, M, L]
        mask: paddle.Tensor | None = None,  # [B, 1, L]
        spk: paddle.Tensor | None = None,  # [B]
        return_dict: bool = True,
    ) -> UNet1DOutput | tuple[paddle.Tensor]:
        """Predict the score, [B, M, L].

        Args:
            sample: the noisy spectrogram, [B, M, L].
            timestep: time from 0 to 1, a number or [B].
            mu: the mean, [B, M, L].
            mask: 1 for frames, 0 for padding, [B, 1, L]; by default no padding.
            spk: ids of the speakers, [B], for a network of several speakers.

        Raises:
            InputError: the shapes do not fit, or the speaker is missing.
        """
        self._check_inputs(sample, mu, spk)
        mask = (paddle.ones_like(sample[:, :1]) if mask is None else mask).unsqueeze(1)  # [B, 1, 1, L]
        emb = self._embed(as_timesteps(timestep, sample.shape[0]))  # [B, C]
        x = paddle.stack(self._channels(sample, mu, spk), axis=1)  # [B, 2 or 3, M, L]
        masks, skips = [mask], []
        for down in self.downs:
            x = down(x, masks[-1], emb)
            skips.append(x)
            if down.resample is not None:
                x = down.resample(x * masks[-1])
                masks.append(masks[-1][:, :, :, ::2])
        x = self.mid_block1(x, masks[-1], emb)
        x = self.mid_attn(x)
        x = self.mid_block2(x, masks[-1], emb)
        for up in self.ups:
            x = paddle.concat([x, skips.pop()], axis=1)
            x = up.resample(up(x, masks[-1], emb) * masks.pop())
        x = self.final_block(x, mask)
        x = (self.final_conv(x * mask) * mask).squeeze(1)
        return UNet1DOutput(sample=x) if return_dict else (x,)

    def _embed(self, timesteps: paddle.Tensor) -> paddle.Tensor:  # [B] -> [B, C]
        # the factor first: a difference in the last digit of an angle of 1000 is seen in its sine
        scaled = timesteps.astype("float32") * float(self.config.pe_scale)
        return self.time_embedding(get_timestep_embedding(scaled, self.config.dim).astype(self._compute_dtype()))

    def _channels(
        self, sample: paddle.Tensor, mu: paddle.Tensor, spk: paddle.Tensor | None
    ) -> Sequence[paddle.Tensor]:  # each [B, M, L]
        if spk is None:
            return mu, sample
        speaker = self.speaker_embedding(self.speakers(spk))  # [B, M]
        return mu, sample, speaker.unsqueeze(-1).expand(sample.shape)

    def _check_config(self) -> None:
        config, problems = self.config, []
        if config.dim < 4 or config.dim % 2:
            problems.append(f"dim={config.dim} is not an even number from 4")
        if not config.dim_mults or min(config.dim_mults) < 1:
            problems.append(f"dim_mults={list(config.dim_mults)} are not positive")
        elif config.dim_mults[0] != 1:
            problems.append(f"dim_mults={list(config.dim_mults)} do not begin with 1")
        elif config.n_feats % 2 ** (len(config.dim_mults) - 1):
            problems.append(f"n_feats={config.n_feats} is not a multiple of {2 ** (len(config.dim_mults) - 1)}")
        if config.groups < 1 or config.dim % config.groups:
            problems.append(f"dim={config.dim} is not a multiple of {config.groups} groups")
        if config.n_spks < 1:
            problems.append(f"n_spks={config.n_spks} is not positive")
        if problems:
            raise ConfigError("This UNetGradTTSModel cannot be built.", problems=problems)

    def _check_inputs(self, sample: paddle.Tensor, mu: paddle.Tensor, spk: paddle.Tensor | None) -> None:
        bins, multiple = self.config.n_feats, self.frame_multiple
        fits = sample.ndim == 3 and sample.shape[1] == bins and list(mu.shape) == list(sample.shape)
        if not fits or sample.shape[2] % multiple:
            raise InputError(
                f"UNetGradTTSModel was given spectrograms of shapes {list(sample.shape)} and {list(mu.shape)}.",
                expected=f"both [B, {bins}, L], where L is a multiple of {multiple}",
            )
        if (spk is None) != (self.config.n_spks == 1):
            raise InputError(
                f"UNetGradTTSModel of {self.config.n_spks} speaker(s) was given {'no' if spk is None else 'a'} `spk`.",
                expected="ids of speakers [B] for a network of several speakers, otherwise None",
            )

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        bins, frames = self.config.n_feats, 2 * self.frame_multiple
        mask = np.ones([BATCH, 1, frames], dtype=np.float32)
        mask[-1, :, frames - 1 :] = 0
        inputs: DummyInputs = {
            "sample": normal(rng, BATCH, bins, frames),  # [B, M, L]
            "timestep": np.array([0.25] * BATCH, dtype=np.float32),  # [B]
            "mu": normal(rng, BATCH, bins, frames),  # [B, M, L]
            "mask": mask,  # [B, 1, L]
        }
        if self.config.n_spks > 1:
            inputs["spk"] = rng.integers(0, self.config.n_spks, BATCH)  # [B]
        return inputs


class Level(nn.Layer):
    """Two residual blocks and attention; `resample` follows them in the UNet, None at the last level."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, groups: int, resample: nn.Layer | None):
        super().__init__()
        self.resnet1 = ResnetBlock(in_channels, out_channels, time_channels, groups)
        self.resnet2 = ResnetBlock(out_channels, out_channels, time_channels, groups)
        self.attn = LinearAttention(out_channels)
        self.resample = resample

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor, emb: paddle.Tensor) -> paddle.Tensor:  # [B, C, M, L]
        return self.attn(self.resnet2(self.resnet1(x, mask, emb), mask, emb))


class Block(nn.Layer):
    """Convolution, group normalization and Mish, without the padding."""

    def __init__(self, in_channels: int, out_channels: int, groups: int):
        super().__init__()
        self.conv = nn.Conv2D(in_channels, out_channels, 3, padding=1)
        self.norm = nn.GroupNorm(groups, out_channels)

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor) -> paddle.Tensor:  # [B, C, M, L] -> [B, O, M, L]
        return F.mish(self.norm(self.conv(x * mask))) * mask


class ResnetBlock(nn.Layer):
    """Two blocks with the time embedding between them, and a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, time_channels: int, groups: int):
        super().__init__()
        self.time_proj = nn.Linear(time_channels, out_channels)
        self.block1 = Block(in_channels, out_channels, groups)
        self.block2 = Block(out_channels, out_channels, groups)
        self.shortcut = None if in_channels == out_channels else nn.Conv2D(in_channels, out_channels, 1)

    def forward(self, x: paddle.Tensor, mask: paddle.Tensor, emb: paddle.Tensor) -> paddle.Tensor:  # [B, C, M, L]
        h = self.block1(x, mask) + self.time_proj(F.mish(emb)).unsqueeze(-1).unsqueeze(-1)
        x = x * mask
        return self.block2(h, mask) + (x if self.shortcut is None else self.shortcut(x))


class LinearAttention(nn.Layer):
    """Attention whose cost is linear in the number of positions: out = q (softmax(k)^T v), times a learned gain."""

    def __init__(self, channels: int):
        super().__init__()
        self.to_qkv = nn.Conv2D(channels, 3 * HEADS * HEAD_CHANNELS, 1, bias_attr=False)
        self.to_out = nn.Conv2D(HEADS * HEAD_CHANNELS, channels, 1)
        self.gain = self.create_parameter([1], default_initializer=nn.initializer.Constant(0))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, M, L] -> [B, C, M, L]
        batch, _, height, width = x.shape
        qkv = self.to_qkv(x).reshape([batch, 3, HEADS, HEAD_CHANNELS, height * width])
        q, k, v = qkv[:, 0], qkv[:, 1], qkv[:, 2]  # each [B, H, D, M * L]
        context = paddle.matmul(v, F.softmax(k, axis=-1), transpose_y=True)  # [B, H, D, D]
        out = paddle.matmul(context, q).reshape([batch, HEADS * HEAD_CHANNELS, height, width])
        return self.to_out(out) * self.gain + x
