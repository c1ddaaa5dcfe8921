"""HiFi-GAN: a mel spectrogram to a waveform, in one pass.

Kong et al. 2020, https://arxiv.org/abs/2010.05646, section 2.2 and figure 1.
"""

from __future__ import annotations

import math

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.modeling_outputs import UNet1DOutput
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.models.vocoders.weight_norm import WeightNormConv1D, WeightNormConv1DTranspose
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal

FRAMES = 5  # of dummy inputs
SLOPE, LAST_SLOPE = 0.1, 0.01  # of the leaky ReLU


class HiFiGANModel(ModelMixin):
    """Generate a waveform from its mel spectrogram: the generator of HiFi-GAN.

    Args:
        cond_channels: number of mel bins.
        upsample_rates: upsampling factor of each block; their product is the hop size of the spectrogram.
        upsample_kernel_sizes: of the transposed convolutions.
        upsample_initial_channel: channels before the first block, halved by each block.
        resblock_kernel_sizes, resblock_dilation_sizes: of the residual blocks, whose mean follows each upsampling.
        resblock: "1" for two convolutions for each dilation, "2" for one.
        use_weight_norm: whether the convolutions have the two parameters of weight normalization.
        sample_rate: of the waveform, in Hz.

    Raises:
        ConfigError: a value is not supported; all of them are listed.
    """

    key_mappings = ()

    @register_to_config
    def __init__(
        self,
        cond_channels: int = 80,
        upsample_rates: tuple[int, ...] = (8, 8, 2, 2),
        upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4),
        upsample_initial_channel: int = 512,
        resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11),
        resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        resblock: str = "1",
        use_weight_norm: bool = True,
        sample_rate: int = 22050,
    ):
        super().__init__()
        self._check_config()
        normalize = use_weight_norm
        channels = [upsample_initial_channel // 2**n for n in range(len(upsample_rates) + 1)]
        self.conv_pre = WeightNormConv1D(cond_channels, channels[0], 7, normalize=normalize)
        self.ups = nn.LayerList(
            [
                WeightNormConv1DTranspose(channels[n], channels[n + 1], size, rate, (size - rate) // 2, normalize)
                for n, (rate, size) in enumerate(zip(upsample_rates, upsample_kernel_sizes, strict=True))
            ]
        )
        block = ResBlock1 if resblock == "1" else ResBlock2
        self.resblocks = nn.LayerList(
            [
                block(width, size, dilations, normalize)
                for width in channels[1:]
                for size, dilations in zip(resblock_kernel_sizes, resblock_dilation_sizes, strict=True)
            ]
        )
        self.conv_post = WeightNormConv1D(channels[-1], 1, 7, normalize=normalize)

    @property
    def hop_size(self) -> int:
        """Samples of the waveform for each frame of the spectrogram."""
        return math.prod(self.config.upsample_rates)

    def forward(self, mel: paddle.Tensor, return_dict: bool = True) -> UNet1DOutput | tuple[paddle.Tensor]:
        """Generate waveforms [B, 1, L * hop_size], between -1 and 1, from spectrograms [B, cond_channels, L].

        Raises:
            InputError: the shape does not fit.
        """
        bins = self.config.cond_channels
        if mel.ndim != 3 or mel.shape[1] != bins:
            raise InputError(
                f"HiFiGANModel was given a spectrogram of shape {list(mel.shape)}.", expected=f"[B, {bins}, L]"
            )
        x, count = self.conv_pre(mel), len(self.config.resblock_kernel_sizes)
        for n, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            branches = [block(x) for block in self.resblocks[n * count : (n + 1) * count]]
            x = sum(branches[1:], branches[0]) / count
        x = paddle.tanh(self.conv_post(F.leaky_relu(x, LAST_SLOPE)))
        return UNet1DOutput(sample=x) if return_dict else (x,)

    def _check_config(self) -> None:
        config, problems = self.config, []
        rates, sizes = config.upsample_rates, config.upsample_kernel_sizes
        if not rates or len(rates) != len(sizes):
            problems.append(f"upsample_rates={list(rates)} and upsample_kernel_sizes={list(sizes)} differ in length")
        elif any(rate < 1 or size < rate or (size - rate) % 2 for rate, size in zip(rates, sizes, strict=True)):
            problems.append(
                f"upsample_kernel_sizes={list(sizes)} are not upsample_rates={list(rates)} plus even numbers from 0"
            )
        if config.upsample_initial_channel // 2 ** len(rates) < 1:
            problems.append(f"upsample_initial_channel={config.upsample_initial_channel} is too small to be halved")
        kernels, dilations = config.resblock_kernel_sizes, config.resblock_dilation_sizes
        if not kernels or len(kernels) != len(dilations):
            problems.append("resblock_kernel_sizes and resblock_dilation_sizes differ in length")
        if any(size % 2 != 1 for size in kernels):
            problems.append(f"resblock_kernel_sizes={list(kernels)} are not odd numbers")
        if config.resblock not in ("1", "2"):
            problems.append(f"resblock={config.resblock!r} is not '1' or '2'")
        if problems:
            raise ConfigError("This HiFiGANModel cannot be built.", problems=problems)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"mel": normal(rng, BATCH, self.config.cond_channels, FRAMES)}  # [B, M, L]


class ResBlock1(nn.Layer):
    """Residual blocks of two convolutions, the first one dilated."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...], normalize: bool):
        super().__init__()

        def conv(dilation: int) -> WeightNormConv1D:
            return WeightNormConv1D(channels, channels, kernel_size, dilation, normalize)

        self.convs1 = nn.LayerList([conv(dilation) for dilation in dilations])
        self.convs2 = nn.LayerList([conv(1) for _ in dilations])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, N] -> [B, C, N]
        for conv1, conv2 in zip(self.convs1, self.convs2, strict=True):
            x = x + conv2(F.leaky_relu(conv1(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class ResBlock2(nn.Layer):
    """Residual blocks of one dilated convolution."""

    def __init__(self, channels: int, kernel_size: int, dilations: tuple[int, ...], normalize: bool):
        super().__init__()
        self.convs = nn.LayerList(
            [WeightNormConv1D(channels, channels, kernel_size, dilation, normalize) for dilation in dilations]
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, N] -> [B, C, N]
        for conv in self.convs:
            x = x + conv(F.leaky_relu(x, SLOPE))
        return x
