"""DiffWave: dilated convolutions over a noisy waveform, conditioned on its mel spectrogram.

Kong et al. 2021, https://arxiv.org/abs/2009.09761, figure 2; the score network of BDDM.
"""

from __future__ import annotations

import math

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.blocks.embeddings import as_timesteps, get_timestep_embedding
from ppdiffusers.models.modeling_outputs import UNet1DOutput
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.models.vocoders.weight_norm import WeightNormConv1D, WeightNormConv2DTranspose
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal

FRAMES = 4  # of dummy inputs
MEL_SLOPE = 0.4  # of the leaky ReLU


class DiffWaveModel(ModelMixin):
    """Predict the noise in a waveform from its mel spectrogram.

    Args:
        in_channels, out_channels: channels of the waveform.
        res_channels, skip_channels: channels of the residual blocks and of their outputs.
        num_res_layers: number of residual blocks.
        dilation_cycle: block n has the dilation 2^(n mod dilation_cycle).
        diffusion_step_embed_dim_in, diffusion_step_embed_dim_mid, diffusion_step_embed_dim_out: widths of the
            embedding of the timestep: sinusoids, then two linear layers.
        cond_channels: number of mel bins.
        upsample_ratios: upsampling factors of the spectrogram; their product is its hop size.
        sample_rate: of the waveform, in Hz.

    Raises:
        ConfigError: a value is not supported; all of them are listed.
    """

    key_mappings = ()

    @register_to_config
    def __init__(
        self,
        in_channels: int = 1,
        res_channels: int = 128,
        skip_channels: int = 128,
        out_channels: int = 1,
        num_res_layers: int = 30,
        dilation_cycle: int = 10,
        diffusion_step_embed_dim_in: int = 128,
        diffusion_step_embed_dim_mid: int = 512,
        diffusion_step_embed_dim_out: int = 512,
        cond_channels: int = 80,
        upsample_ratios: tuple[int, ...] = (16, 16),
        sample_rate: int = 22050,
    ):
        super().__init__()
        self._check_config()
        self.init_conv = WeightNormConv1D(in_channels, res_channels, 1)
        self.fc_t1 = nn.Linear(diffusion_step_embed_dim_in, diffusion_step_embed_dim_mid)
        self.fc_t2 = nn.Linear(diffusion_step_embed_dim_mid, diffusion_step_embed_dim_out)
        self.residual_blocks = nn.LayerList(
            [
                ResidualBlock(
                    res_channels,
                    skip_channels,
                    dilation=2 ** (n % dilation_cycle),
                    time_channels=diffusion_step_embed_dim_out,
                    cond_channels=cond_channels,
                    upsample_ratios=upsample_ratios,
                )
                for n in range(num_res_layers)
            ]
        )
        self.final_conv = WeightNormConv1D(skip_channels, skip_channels, 1)
        self.out_conv = nn.Conv1D(skip_channels, out_channels, 1)

    @property
    def hop_size(self) -> int:
        """Samples of the waveform for each frame of the spectrogram."""
        return math.prod(self.config.upsample_ratios)

    def forward(
        self,
        sample: paddle.Tensor,  # [B, 1, N]
        timestep: paddle.Tensor | float,
        mel: paddle.Tensor,  # [B, M, L]
        return_dict: bool = True,
    ) -> UNet1DOutput | tuple[paddle.Tensor]:
        """Predict the noise, [B, out_channels, N].

        Args:
            sample: the noisy waveform, [B, in_channels, N], with N up to L * hop_size.
            timestep: a number, fractional too, or [B].
            mel: the mel spectrogram, [B, cond_channels, L].

        Raises:
            InputError: the shapes do not fit.
        """
        sample, mel = computable(sample), computable(mel)
        self._check_shapes(sample, mel)
        width = self.config.diffusion_step_embed_dim_in
        emb = get_timestep_embedding(as_timesteps(timestep, sample.shape[0]), width).astype(self._compute_dtype())
        emb = F.silu(self.fc_t2(F.silu(self.fc_t1(emb))))  # [B, E]
        x = F.relu(self.init_conv(sample))  # [B, C, N]
        total = None
        for block in self.residual_blocks:
            x, skip = block(x, mel, emb)
            total = skip if total is None else total + skip
        x = total * math.sqrt(1 / len(self.residual_blocks))
        x = self.out_conv(F.relu(self.final_conv(x)))
        return UNet1DOutput(sample=x) if return_dict else (x,)

    def _check_config(self) -> None:
        config = self.config
        problems = [
            f"{name}={config[name]} is not positive"
            for name in ("num_res_layers", "dilation_cycle", "res_channels", "skip_channels")
            if config[name] < 1
        ]
        if config.diffusion_step_embed_dim_in % 2 or config.diffusion_step_embed_dim_in < 4:
            width = config.diffusion_step_embed_dim_in
            problems.append(f"diffusion_step_embed_dim_in={width} is not an even number from 4")
        if not config.upsample_ratios or min(config.upsample_ratios) < 1 or any(r % 2 for r in config.upsample_ratios):
            problems.append(f"upsample_ratios={list(config.upsample_ratios)} are not positive even numbers")
        if problems:
            raise ConfigError("This DiffWaveModel cannot be built.", problems=problems)

    def _check_shapes(self, sample: paddle.Tensor, mel: paddle.Tensor) -> None:
        channels, bins, hop = self.config.in_channels, self.config.cond_channels, self.hop_size
        if mel.ndim != 3 or mel.shape[1] != bins:
            raise InputError(
                f"DiffWaveModel was given a spectrogram of shape {list(mel.shape)}.", expected=f"[B, {bins}, L]"
            )
        fits = sample.ndim == 3 and sample.shape[1] == channels
        lengths = (sample.shape[-1], mel.shape[-1])
        if not fits or (min(lengths) > 0 and lengths[0] > lengths[1] * hop):  # -1: unknown while tracing
            raise InputError(
                f"DiffWaveModel was given a waveform of shape {list(sample.shape)} for a spectrogram of shape "
                f"{list(mel.shape)}.",
                expected=f"[B, {channels}, N], at most {hop} samples for each frame",
            )

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        config = self.config
        return {
            "sample": normal(rng, BATCH, config.in_channels, FRAMES * self.hop_size),  # [B, 1, L * hop_size]
            "timestep": np.array([3.5] * BATCH, dtype=np.float32),  # [B]
            "mel": normal(rng, BATCH, config.cond_channels, FRAMES),  # [B, M, L]
        }


class ResidualBlock(nn.Layer):
    """A dilated convolution with a gated activation, the timestep and the upsampled spectrogram."""

    def __init__(
        self,
        channels: int,
        skip_channels: int,
        *,
        dilation: int,
        time_channels: int,
        cond_channels: int,
        upsample_ratios: tuple[int, ...],
    ):
        super().__init__()
        self.fc_t = nn.Linear(time_channels, channels)
        self.dilated_conv = WeightNormConv1D(channels, 2 * channels, 3, dilation)
        self.upsample = nn.LayerList(
            [WeightNormConv2DTranspose((3, 2 * ratio), ratio, (1, ratio // 2)) for ratio in upsample_ratios]
        )
        self.mel_conv = WeightNormConv1D(cond_channels, 2 * channels, 1)
        self.res_conv = WeightNormConv1D(channels, channels, 1)
        self.skip_conv = WeightNormConv1D(channels, skip_channels, 1)

    def forward(
        self, x: paddle.Tensor, mel: paddle.Tensor, emb: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:  # [B, C, N], [B, M, L], [B, E] -> [B, C, N], [B, S, N]
        x = x + self.fc_t(emb).unsqueeze(-1)  # the original adds in place: the shortcut has the embedding, too
        mel = mel.unsqueeze(1)  # [B, 1, M, L]
        for upsample in self.upsample:
            mel = F.leaky_relu(upsample(mel), MEL_SLOPE)
        mel = mel.squeeze(1)[:, :, : x.shape[-1]]  # [B, M, N]
        gated, gate = (self.dilated_conv(x) + self.mel_conv(mel)).chunk(2, axis=1)
        out = F.tanh(gated) * F.sigmoid(gate)
        return (x + self.res_conv(out)) * math.sqrt(0.5), self.skip_conv(out)
