"""UNet for sequences: waveforms (Dance Diffusion, after crowsonkb's v-diffusion), trajectories and their values."""

from __future__ import annotations

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.blocks import unet_1d_temporal_blocks as temporal
from ppdiffusers.models.blocks.embeddings import (
    GaussianFourierProjection,
    TimestepEmbedding,
    Timesteps,
    as_timesteps,
)
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

_FEATURES = 16  # of projected times


class UNet1DModel(ModelMixin):
    """Predict noise or velocity of sequences [B, C, L]; configuration and state dict are those of diffusers' class.

    The middle block chooses the kind of network: "UNetMidBlock1D" for waveforms, whose blocks read projected times as
    channels; "MidResTemporalBlock1D" for trajectories, and "ValueFunctionMidBlock1D" for the value [B, 1] of a
    trajectory, whose blocks read a time embedding.

    Args:
        sample_size: default length in samples.
        sample_rate: samples per second.
        extra_in_channels: channels that the time features add to the input of the first block.
        time_embedding_type: "fourier" or "positional".
        use_timestep_embedding: pass the projected times through two linear layers.
        freq_shift: shift of the frequencies of positional embeddings.
        out_block_type: "OutConv1DBlock", "ValueFunction", or None.
        norm_num_groups: groups of the norm of "OutConv1DBlock".
        layers_per_block: residual blocks of a block for trajectories, less one.
        downsample_each_block: halve the length in the last down block, too, and in "MidResTemporalBlock1D".
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
        config, first = self.config, block_out_channels[0]
        if time_embedding_type == "positional":
            projected = first
            self.time_proj = Timesteps(first, flip_sin_to_cos, freq_shift)
        else:
            projected = 2 * first if use_timestep_embedding else time_embedding_dim or extra_in_channels or _FEATURES
            self.time_proj = GaussianFourierProjection(
                embedding_size=projected // 2, set_W_to_weight=False, log=False, flip_sin_to_cos=flip_sin_to_cos
            )
        if use_timestep_embedding:
            self.time_mlp = TimestepEmbedding(projected, 4 * first, act_fn, out_dim=first)
        if self._is_temporal:
            self.down_blocks = nn.LayerList(temporal.get_down_blocks(config))
            self.mid_block = temporal.get_mid_block(config)
            self.up_blocks = nn.LayerList(temporal.get_up_blocks(config))
        else:
            self._create_audio_blocks()
        self.out_block = temporal.get_out_block(config)

    @property
    def _is_temporal(self) -> bool:
        """Whether this network is for trajectories; otherwise it is for waveforms."""
        return self.config.mid_block_type in temporal.MIDDLE_BLOCKS

    @property
    def _sample_channels(self) -> int:
        """Channels of samples: the blocks for trajectories do not append time features as extra channels."""
        return self.config.in_channels + (self.config.extra_in_channels if self._is_temporal else 0)

    def _create_audio_blocks(self) -> None:
        config = self.config
        widths = [config.in_channels, *config.block_out_channels]
        inputs = [widths[0] + config.extra_in_channels, *widths[1:]]
        self.down_blocks = nn.LayerList(
            [get_down_block(name, inputs[n], widths[n + 1]) for n, name in enumerate(config.down_block_types)]
        )
        self.mid_block = get_mid_block(widths[-1])
        end = config.out_channels if config.out_block_type is None else widths[1]
        upwards = [*reversed(config.block_out_channels), end]
        self.up_blocks = nn.LayerList(
            [get_up_block(name, a, b) for name, a, b in zip(config.up_block_types, upwards, upwards[1:])]
        )

    def _check_config(self) -> None:
        config = self.config
        problems = wrong_lengths(len(config.block_out_channels), down_block_types=config.down_block_types)
        problems += temporal.problems_of(config) if self._is_temporal else self._audio_problems()
        for name, supported in (
            ("time_embedding_type", ("fourier", "positional")),
            ("out_block_type", (None, "OutConv1DBlock", "ValueFunction")),
        ):
            if config[name] not in supported:
                problems.append(f"{name} is {config[name]!r}, supported: {', '.join(map(repr, supported))}")
        if config.act_fn is None and (config.use_timestep_embedding or config.out_block_type is not None):
            problems.append("act_fn is None, but the time embedding and the block after the up blocks read it")
        if problems:
            expected = f"for waveforms {known_block_types()}; for trajectories {temporal.known_block_types()}"
            raise ConfigError("This UNet1DModel cannot be built.", problems=problems, expected=expected)
        if not self._is_temporal:
            attention = [w for w, name in zip(config.block_out_channels, config.down_block_types) if "Attn" in name]
            widths = {f"level {n}": w for n, w in enumerate(attention)}
            check_heads(**widths, middle=config.block_out_channels[-1])

    def _audio_problems(self) -> list[str]:
        config = self.config
        problems = check_block_types(config.down_block_types, config.mid_block_type, config.up_block_types)
        problems += wrong_lengths(len(config.block_out_channels), up_block_types=config.up_block_types)
        if config.use_timestep_embedding:
            problems.append("use_timestep_embedding is True, these blocks read time features directly")
        if config.out_block_type == "ValueFunction":
            problems.append("out_block_type is 'ValueFunction', which requires the blocks for trajectories")
        return problems

    def forward(
        self, sample: paddle.Tensor, timestep: paddle.Tensor | float | int, return_dict: bool = True
    ) -> UNet1DOutput | tuple[paddle.Tensor]:
        """Predict from `sample` [B, in_channels, L] at `timestep`, a number or [B]; waveforms have times in [0, 1].

        L of waveforms must be a multiple of `2 ** levels`, and at least three times this number; L of trajectories a
        multiple of `2 ** (levels - 1)`.

        Raises:
            InputError: the shape of the sample does not fit.
        """
        self._check_sample(sample)
        sample = computable(sample)
        temb = self._embed_time(as_timesteps(timestep, sample.shape[0]), sample)
        sample = self._trajectories(sample, temb) if self._is_temporal else self._through_blocks(sample, temb)
        if self.out_block is not None:
            sample = self.out_block(sample, temb)
        return UNet1DOutput(sample=sample) if return_dict else (sample,)

    def _embed_time(self, times: paddle.Tensor, sample: paddle.Tensor) -> paddle.Tensor:
        """Embed times [B] as [B, T]; the blocks for waveforms read [B, F, L]."""
        projected = self.time_proj(times.astype("float32")).astype(sample.dtype)  # [B, F]
        if self.config.use_timestep_embedding:
            return self.time_mlp(projected)
        return projected.unsqueeze(-1).expand([*projected.shape, sample.shape[2]])

    def _through_blocks(self, sample: paddle.Tensor, features: paddle.Tensor) -> paddle.Tensor:
        skips = []
        for name, block in zip(self.config.down_block_types, self.down_blocks):
            sample = block(sample, features if reads_time(name) else None)
            skips.append(sample)
        sample = self.mid_block(sample)
        for block in self.up_blocks:
            sample = block(sample, skips.pop())
        return sample

    def _trajectories(self, sample: paddle.Tensor, temb: paddle.Tensor) -> paddle.Tensor:
        skips = []
        for block in self.down_blocks:
            sample, skip = block(sample, temb)
            skips.append(skip)
        sample = self.mid_block(sample, temb)
        for block in self.up_blocks:
            sample = block(sample, skips.pop(), temb)
        return sample

    def _check_sample(self, sample: paddle.Tensor) -> None:
        levels, channels = len(self.down_blocks), self._sample_channels
        step, least = 2**levels, 3 * 2**levels
        if self._is_temporal:
            step = least = 2 ** (levels - 1) if len(self.up_blocks) else 1
        if sample.ndim != 3 or sample.shape[1] != channels or sample.shape[2] % step or sample.shape[2] < least:
            raise InputError(
                f"UNet1DModel was given a sample of shape {list(sample.shape)}.",
                expected=f"[batch, {channels}, a multiple of {step} that is at least {least}]",
            )

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        length = 4 * 2 ** len(self.config.block_out_channels)
        if self.config.mid_block_type == "ValueFunctionMidBlock1D":  # the length becomes 1
            length = 2 ** (len(self.config.block_out_channels) + self.config.downsample_each_block + 1)
        sample = normal(rng, BATCH, self._sample_channels, length)  # [B, C, L]
        times = [0.2, 0.9] if self.config.time_embedding_type == "fourier" else [3.0, 712.0]
        return {"sample": sample, "timestep": np.array(times, dtype=np.float32)}
