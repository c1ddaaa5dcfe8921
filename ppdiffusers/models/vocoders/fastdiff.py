"""FastDiff: a vocoder whose convolution kernels are predicted from the mel spectrogram and the noise level.

Huang et al. 2022, https://arxiv.org/abs/2204.09934, figure 2. The names of parameters are those of the original.
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
from ppdiffusers.models.vocoders.weight_norm import WeightNormConv1D
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal

FRAMES = 5  # of dummy inputs
AUDIO_SLOPE, PREDICTOR_SLOPE = 0.2, 0.1  # of the leaky ReLU


class FastDiffModel(ModelMixin):
    """Predict the noise in a waveform from its mel spectrogram.

    Args:
        audio_channels: channels of the output.
        inner_channels: channels of the hidden layers.
        cond_channels: number of mel bins.
        upsample_ratios: upsampling factor of each block; their product is the hop size of the spectrogram.
        lvc_layers_each_block, lvc_kernel_size: location-variable convolutions.
        kpnet_hidden_channels, kpnet_conv_size: the network that predicts their kernels.
        dropout: of that network, while training.
        diffusion_step_embed_dim_in, diffusion_step_embed_dim_mid, diffusion_step_embed_dim_out: widths of the
            embedding of the timestep: sinusoids, then two linear layers.
        use_weight_norm: whether the convolutions have the two parameters of weight normalization.
        sample_rate: of the waveform, in Hz.

    Raises:
        ConfigError: a value is not supported; all of them are listed.
    """

    key_mappings = ()

    @register_to_config
    def __init__(
        self,
        audio_channels: int = 1,
        inner_channels: int = 32,
        cond_channels: int = 80,
        upsample_ratios: tuple[int, ...] = (8, 8, 4),
        lvc_layers_each_block: int = 4,
        lvc_kernel_size: int = 3,
        kpnet_hidden_channels: int = 64,
        kpnet_conv_size: int = 3,
        dropout: float = 0.0,
        diffusion_step_embed_dim_in: int = 128,
        diffusion_step_embed_dim_mid: int = 512,
        diffusion_step_embed_dim_out: int = 512,
        use_weight_norm: bool = True,
        sample_rate: int = 22050,
    ):
        super().__init__()
        self._check_config()
        normalize = use_weight_norm
        self.first_audio_conv = WeightNormConv1D(1, inner_channels, 7, normalize=normalize)
        self.fc_t1 = nn.Linear(diffusion_step_embed_dim_in, diffusion_step_embed_dim_mid)
        self.fc_t2 = nn.Linear(diffusion_step_embed_dim_mid, diffusion_step_embed_dim_out)
        self.lvc_blocks = nn.LayerList(
            [
                TimeAwareLVCBlock(
                    inner_channels,
                    cond_channels,
                    upsample_ratio=ratio,
                    hop_size=math.prod(upsample_ratios[: n + 1]),
                    conv_layers=lvc_layers_each_block,
                    conv_kernel_size=lvc_kernel_size,
                    predictor=(kpnet_hidden_channels, kpnet_conv_size, dropout),
                    time_channels=diffusion_step_embed_dim_out,
                    normalize=normalize,
                )
                for n, ratio in enumerate(upsample_ratios)
            ]
        )
        self.downsample = nn.LayerList(
            [DiffusionDBlock(inner_channels, ratio, normalize) for ratio in reversed(upsample_ratios)]
        )
        self.final_conv = nn.Sequential(WeightNormConv1D(inner_channels, audio_channels, 7, normalize=normalize))

    @property
    def hop_size(self) -> int:
        """Samples of the waveform for each frame of the spectrogram."""
        return math.prod(self.config.upsample_ratios)

    def forward(
        self,
        sample: paddle.Tensor,  # [B, 1, L * hop_size]
        timestep: paddle.Tensor | float,
        mel: paddle.Tensor,  # [B, cond_channels, L]
        return_dict: bool = True,
    ) -> UNet1DOutput | tuple[paddle.Tensor]:
        """Predict the noise, [B, audio_channels, L * hop_size].

        Args:
            sample: the noisy waveform, [B, 1, L * hop_size].
            timestep: a number, fractional too, or [B].
            mel: the mel spectrogram, [B, cond_channels, L].

        Raises:
            InputError: the shapes do not fit.
        """
        sample, mel = computable(sample), computable(mel)
        self._check_shapes(sample, mel)
        emb = self._embed(as_timesteps(timestep, sample.shape[0]))  # [B, E]
        x = self.first_audio_conv(sample)  # [B, C, L * hop_size]
        skips = []
        for down in self.downsample:
            skips.append(x)
            x = down(x)  # finally [B, C, L]
        for block, skip in zip(self.lvc_blocks, reversed(skips), strict=True):
            x = block(x, skip, mel, emb)
        x = self.final_conv(x)
        return UNet1DOutput(sample=x) if return_dict else (x,)

    def _embed(self, timesteps: paddle.Tensor) -> paddle.Tensor:  # [B] -> [B, E]
        width = self.config.diffusion_step_embed_dim_in
        emb = get_timestep_embedding(timesteps, width, downscale_freq_shift=1).astype(self._compute_dtype())
        return F.silu(self.fc_t2(F.silu(self.fc_t1(emb))))

    def _check_config(self) -> None:
        config = self.config
        problems = [
            f"{name}={config[name]} is not an odd number"
            for name in ("lvc_kernel_size", "kpnet_conv_size")
            if config[name] % 2 != 1
        ]
        if config.diffusion_step_embed_dim_in % 2 or config.diffusion_step_embed_dim_in < 4:
            problems.append(
                f"diffusion_step_embed_dim_in={config.diffusion_step_embed_dim_in} is not an even number from 4"
            )
        if not config.upsample_ratios or min(config.upsample_ratios) < 1:
            problems.append(f"upsample_ratios={list(config.upsample_ratios)} are not positive")
        if problems:
            raise ConfigError("This FastDiffModel cannot be built.", problems=problems)

    def _check_shapes(self, sample: paddle.Tensor, mel: paddle.Tensor) -> None:
        bins, hop = self.config.cond_channels, self.hop_size
        if mel.ndim != 3 or mel.shape[1] != bins:
            raise InputError(
                f"FastDiffModel was given a spectrogram of shape {list(mel.shape)}.", expected=f"[B, {bins}, L]"
            )
        fits = sample.ndim == 3 and sample.shape[1] == 1
        lengths = (sample.shape[-1], mel.shape[-1])
        if not fits or (min(lengths) > 0 and lengths[0] != lengths[1] * hop):  # -1: unknown while tracing
            raise InputError(
                f"FastDiffModel was given a waveform of shape {list(sample.shape)} for a spectrogram of shape "
                f"{list(mel.shape)}.",
                expected=f"[B, 1, L * {hop}], {hop} samples for each frame",
            )

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {
            "sample": normal(rng, BATCH, 1, FRAMES * self.hop_size),  # [B, 1, L * hop_size]
            "timestep": np.array([3.5] * BATCH, dtype=np.float32),  # [B]
            "mel": normal(rng, BATCH, self.config.cond_channels, FRAMES),  # [B, M, L]
        }


class DiffusionDBlock(nn.Layer):
    """Downsample a waveform by an integer factor, with dilated convolutions and a shortcut."""

    def __init__(self, channels: int, factor: int, normalize: bool):
        super().__init__()
        self.factor = factor
        self.residual_dense = WeightNormConv1D(channels, channels, 1, normalize=normalize)
        self.conv = nn.LayerList(
            [WeightNormConv1D(channels, channels, 3, dilation=n, normalize=normalize) for n in (1, 2, 4)]
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, L] -> [B, C, L / factor]
        residual = self.residual_dense(x)[:, :, :: self.factor]
        x = x[:, :, :: self.factor]
        for conv in self.conv:
            x = conv(F.leaky_relu(x, AUDIO_SLOPE))
        return x + residual


class TimeAwareLVCBlock(nn.Layer):
    """Upsample, then convolve with kernels that depend on the position, the spectrogram and the timestep."""

    def __init__(
        self,
        channels: int,
        cond_channels: int,
        *,
        upsample_ratio: int,
        hop_size: int,
        conv_layers: int,
        conv_kernel_size: int,
        predictor: tuple[int, int, float],
        time_channels: int,
        normalize: bool,
    ):
        super().__init__()
        self.hop_size = hop_size
        odd = upsample_ratio % 2
        self.upsample = nn.Conv1DTranspose(
            channels, channels, 2 * upsample_ratio, upsample_ratio, upsample_ratio // 2 + odd, output_padding=odd
        )
        self.kernel_predictor = KernelPredictor(
            cond_channels, channels, 2 * channels, conv_layers, conv_kernel_size, *predictor, normalize
        )
        self.fc_t = nn.Linear(time_channels, cond_channels)
        self.convs = nn.LayerList(
            [
                WeightNormConv1D(channels, channels, conv_kernel_size, dilation=3**n, normalize=normalize)
                for n in range(conv_layers)
            ]
        )

    def forward(
        self, x: paddle.Tensor, skip: paddle.Tensor, mel: paddle.Tensor, emb: paddle.Tensor
    ) -> paddle.Tensor:  # [B, C, L * hop / ratio], [B, C, L * hop], [B, M, L], [B, E] -> [B, C, L * hop]
        kernels, biases = self.kernel_predictor(mel + self.fc_t(emb).unsqueeze(-1))
        x = self.upsample(F.leaky_relu(x, AUDIO_SLOPE))
        for n, conv in enumerate(self.convs):
            x = x + skip
            y = F.leaky_relu(conv(F.leaky_relu(x, AUDIO_SLOPE)), AUDIO_SLOPE)
            y = location_variable_convolution(y, kernels[:, n], biases[:, n], self.hop_size)  # [B, 2 C, L * hop]
            gate, signal = y.chunk(2, axis=1)
            x = x + F.sigmoid(gate) * F.tanh(signal)
        return x


class KernelPredictor(nn.Layer):
    """Predict the kernels and biases of the location-variable convolutions from the spectrogram."""

    def __init__(
        self,
        cond_channels: int,
        in_channels: int,
        out_channels: int,
        layers: int,
        kernel_size: int,
        hidden_channels: int,
        conv_size: int,
        dropout: float,
        normalize: bool,
    ):
        super().__init__()
        self.shape = [layers, in_channels, out_channels, kernel_size]

        def conv(source: int, target: int, size: int = conv_size) -> WeightNormConv1D:
            return WeightNormConv1D(source, target, size, normalize=normalize)

        residual: list[nn.Layer] = []
        for _ in range(3):
            residual.append(nn.Dropout(dropout))
            for _ in range(2):
                residual += [conv(hidden_channels, hidden_channels), nn.LeakyReLU(PREDICTOR_SLOPE)]
        self.input_conv = nn.Sequential(conv(cond_channels, hidden_channels, 5), nn.LeakyReLU(PREDICTOR_SLOPE))
        self.residual_conv = nn.Sequential(*residual)
        self.kernel_conv = conv(hidden_channels, math.prod(self.shape))
        self.bias_conv = conv(hidden_channels, layers * out_channels)

    def forward(self, mel: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """[B, M, L] -> kernels [B, layers, C, O, K, L], biases [B, layers, O, L]."""
        layers, _, out_channels, _ = self.shape
        hidden = self.input_conv(mel)
        hidden = hidden + self.residual_conv(hidden)
        batch, frames = hidden.shape[0], hidden.shape[-1]
        kernels = self.kernel_conv(hidden).reshape([batch, *self.shape, frames])
        return kernels, self.bias_conv(hidden).reshape([batch, layers, out_channels, frames])


def location_variable_convolution(
    x: paddle.Tensor, kernels: paddle.Tensor, biases: paddle.Tensor, hop_size: int
) -> paddle.Tensor:
    """Convolve each segment of `hop_size` samples with its own kernel (LVCNet, https://arxiv.org/abs/2102.10815).

    Args:
        x: [B, C, L * hop_size].
        kernels: [B, C, O, K, L].
        biases: [B, O, L].

    Returns:
        [B, O, L * hop_size].
    """
    batch, channels, length = x.shape
    _, _, out_channels, kernel_size, frames = kernels.shape
    pad = (kernel_size - 1) // 2
    padded = F.pad(x, [pad, pad])  # [B, C, L * hop_size + K - 1]
    # the samples at offset k of every window are the waveform, shifted by k and split into segments
    shifted = [padded[:, :, k : k + length].reshape([batch, channels, frames, hop_size]) for k in range(kernel_size)]
    windows = paddle.stack(shifted, axis=2).transpose([0, 3, 1, 2, 4])  # [B, L, C, K, hop_size]
    windows = windows.reshape([batch, frames, channels * kernel_size, hop_size])
    matrices = kernels.transpose([0, 4, 2, 1, 3]).reshape([batch, frames, out_channels, channels * kernel_size])
    out = paddle.matmul(matrices, windows) + biases.transpose([0, 2, 1]).unsqueeze(-1)  # [B, L, O, hop_size]
    return out.transpose([0, 2, 1, 3]).reshape([batch, out_channels, length])
