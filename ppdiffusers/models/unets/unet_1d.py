"""UNet for audio (Dance Diffusion, after crowsonkb's v-diffusion): predicts the velocity of a noisy waveform."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.blocks.embeddings import GaussianFourierProjection, as_timesteps
from ppdiffusers.models.blocks.unet_1d_blocks import (
    check_block_types,
    check_heads,
    get_down_block,
    get_mid_block,
    get_up_block,
    known_block_types,
    reads_time,
)
from ppdiffusers.models.modeling_outputs import UNet1DOutput
from ppdiffusers.models.modeling_utils import ModelMixin, wrong_lengths
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal

_FOURIER_FEATURES = 16


class UNet1DModel(ModelMixin):
    """Predict the velocity of waveforms [B, C, L]; configuration and state dict are those of diffusers' class.

    Args:
        sample_size: default length in samples.
        sample_rate: samples per second.
        extra_in_channels: channels that the time features add to the input of the first block.
        time_embedding_dim: channels of the time features. None for `extra_in_channels`, which fits the configurations
            of old and new versions of diffusers.
    """

    # the attention layers are named `query`, `key` and `value` in all versions: no legacy names to convert
    key_mappings = ()

    @register_to_config
    def __init__(
        self,
        sample_size: int = 65536,
        sample_rate: int | None = None,
        in_channels: int = 2,
        out_channels: int = 2,
        extra_in_channels: int = 0,
        time_embedding_type: str = "fourier",
        flip_sin_to_cos: bool = True,
        use_timestep_embedding: bool = False,
        freq_shift: float = 0.0,
        down_block_types: tuple[str, ...] = ("DownBlock1DNoSkip", "DownBlock1D", "AttnDownBlock1D"),
        up_block_types: tuple[str, ...] = ("AttnUpBlock1D", "UpBlock1D", "UpBlock1DNoSkip"),
        mid_block_type: str = "UNetMidBlock1D",
        out_block_type: str | None = None,
        block_out_channels: tuple[int, ...] = (32, 32, 64),
        act_fn: str | None = None,
        norm_num_groups: int = 8,
        layers_per_block: int = 1,
        downsample_each_block: bool = False,
        time_embedding_dim: int | None = None,
    ):
        super().__init__()
        self._check_config()
        features = time_embedding_dim or extra_in_channels or _FOURIER_FEATURES
        self.time_proj = GaussianFourierProjection(
            embedding_size=features // 2, set_W_to_weight=False, log=False, flip_sin_to_cos=flip_sin_to_cos
        )
        widths = [in_channels, *block_out_channels]
        inputs = [widths[0] + extra_in_channels, *widths[1:]]
        self.down_blocks = nn.LayerList(
            [get_down_block(name, inputs[n], widths[n + 1]) for n, name in enumerate(down_block_types)]
        )
        self.mid_block = get_mid_block(widths[-1])
        upwards = [*reversed(block_out_channels), out_channels]
        self.up_blocks = nn.LayerList(
            [get_up_block(name, before, after) for name, before, after in zip(up_block_types, upwards, upwards[1:])]
        )

    def _check_config(self) -> None:
        config, levels = self.config, len(self.config.block_out_channels)
        problems = check_block_types(config.down_block_types, config.mid_block_type, config.up_block_types)
        problems += wrong_lengths(
            levels, down_block_types=config.down_block_types, up_block_types=config.up_block_types
        )
        for name, supported in (("time_embedding_type", "fourier"), ("out_block_type", None)):
            if config[name] != supported:
                problems.append(f"{name} is {config[name]!r}, these blocks require {supported!r}")
        if config.use_timestep_embedding:
            problems.append("use_timestep_embedding is True, these blocks read time features directly")
        if problems:
            raise ConfigError("This UNet1DModel cannot be built.", problems=problems, expected=known_block_types())
        attention = [w for w, name in zip(config.block_out_channels, config.down_block_types) if "Attn" in name]
        check_heads(**{f"level {n}": w for n, w in enumerate(attention)}, middle=config.block_out_channels[-1])

    def forward(
        self, sample: paddle.Tensor, timestep: paddle.Tensor | float | int, return_dict: bool = True
    ) -> UNet1DOutput | tuple[paddle.Tensor]:
        """Predict from `sample` [B, in_channels, L] at `timestep` in [0, 1] (a number, or [B]).

        L must be a multiple of `2 ** levels`, and at least three times this number.

        Raises:
            InputError: the shape of the sample does not fit.
        """
        self._check_sample(sample)
        sample = computable(sample)
        times = as_timesteps(timestep, sample.shape[0]).astype("float32")
        features = self.time_proj(times).astype(sample.dtype).unsqueeze(-1)  # [B, F, 1]
        features = features.expand([*features.shape[:2], sample.shape[2]])  # [B, F, L]

        skips = []
        for name, block in zip(self.config.down_block_types, self.down_blocks):
            sample = block(sample, features if reads_time(name) else None)
            skips.append(sample)
        sample = self.mid_block(sample)
        for block in self.up_blocks:
            sample = block(sample, skips.pop())
        return UNet1DOutput(sample=sample) if return_dict else (sample,)

    def _check_sample(self, sample: paddle.Tensor) -> None:
        step = 2 ** len(self.up_blocks)
        channels = self.config.in_channels
        if sample.ndim != 3 or sample.shape[1] != channels or sample.shape[2] % step or sample.shape[2] < 3 * step:
            raise InputError(
                f"UNet1DModel was given a sample of shape {list(sample.shape)}.",
                expected=f"[batch, {channels}, a multiple of {step} that is at least {3 * step}]",
            )

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        length = 4 * 2 ** len(self.config.block_out_channels)
        sample = normal(rng, BATCH, self.config.in_channels, length)  # [B, C, L]
        return {"sample": sample, "timestep": np.array([0.2, 0.9], dtype=np.float32)}
