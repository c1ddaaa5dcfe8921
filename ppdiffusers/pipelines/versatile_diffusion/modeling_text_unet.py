"""Versatile Diffusion's UNet for text vectors (Xu et al., arXiv 2211.08332, section 3.3).

It has the architecture of the image UNet and the same transformers, which are therefore exchangeable. Its other layers
are linear layers over whole vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.blocks.settings import BlockSettings
from ppdiffusers.models.blocks.unet_flat_blocks import LinearMultiDim, ResnetBlockFlat, flat_shape
from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal, prompt_embeddings

# Name of a flat block -> name of the block of the same architecture over images.
_DOWN = {"CrossAttnDownBlockFlat": "CrossAttnDownBlock2D", "DownBlockFlat": "DownBlock2D"}
_UP = {"CrossAttnUpBlockFlat": "CrossAttnUpBlock2D", "UpBlockFlat": "UpBlock2D"}
_MIDDLE = {
    "UNetMidBlockFlatCrossAttn": "UNetMidBlock2DCrossAttn",
    "UNetMidBlockFlatSimpleCrossAttn": "UNetMidBlock2DSimpleCrossAttn",
    "UNetMidBlockFlat": "UNetMidBlock2D",
    None: None,
}
_DEFAULTS = {
    "down_block_types": ("CrossAttnDownBlockFlat",) * 3 + ("DownBlockFlat",),
    "mid_block_type": "UNetMidBlockFlatCrossAttn",
    "up_block_types": ("UpBlockFlat",) + ("CrossAttnUpBlockFlat",) * 3,
}


class FlatSettings(BlockSettings):
    """Blocks over [B, C, 4, 1] with linear layers instead of 3x3 convolutions and resampling."""

    def resnet(self, in_channels: int, out_channels: int, **changes: object) -> ResnetBlockFlat:
        """Create a residual block from the settings of its norms and of the time embedding."""
        return ResnetBlockFlat(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=self.temb_channels,
            dropout=self.dropout,
            groups=self.resnet_groups,
            eps=self.resnet_eps,
        )

    def downsampler(self, channels: int) -> nn.Layer:
        return LinearMultiDim(channels, channels)

    upsampler = downsampler


class UNetFlatConditionModel(UNet2DConditionModel):
    """Predict the noise in vectors [B, *in_channels]; the configuration has the keys of `UNet2DConditionModel`.

    Args:
        in_channels, out_channels: shape of a vector, such as [768, 1, 1]; a number C is [C, 4, 1].
        config: all other keys, with names of flat blocks.
    """

    _settings_class = FlatSettings

    def __init__(self, **config: Any):
        super().__init__(**{**_DEFAULTS, **config})

    @classmethod
    def init_parameters(cls) -> tuple[str, ...]:
        return UNet2DConditionModel.init_parameters()

    @staticmethod
    def _block_names(names: Sequence[str | None]) -> list[str | None]:
        return [{**_DOWN, **_UP, **_MIDDLE}[name] for name in names]

    def _outer_layer(
        self, in_channels: int | Sequence[int], out_channels: int | Sequence[int], kernel: int
    ) -> nn.Layer:
        return LinearMultiDim(in_channels, out_channels)

    def _wrong_blocks(self) -> list[str]:
        config = self.config
        named = [("down", name, _DOWN) for name in config.down_block_types]
        named += [("mid", config.mid_block_type, _MIDDLE)]
        named += [("up", name, _UP) for name in config.up_block_types]
        problems = [f"unknown {place} block {name!r}" for place, name, known in named if name not in known]
        if config.transformer_layers_per_block != 1:
            problems.append(f"transformer_layers_per_block = {config.transformer_layers_per_block!r} (known: 1)")
        return problems

    @staticmethod
    def _known_blocks() -> str:
        return ", ".join(str(name) for known in (_DOWN, _MIDDLE, _UP) for name in known)

    def _check_sample(self, sample: paddle.Tensor) -> None:
        expected = flat_shape(self.config.in_channels)
        if list(sample.shape[1:]) != expected:
            raise InputError(
                f"The sample of {type(self).__name__} has the shape {list(sample.shape)}.",
                expected=f"[batch, {', '.join(map(str, expected))}]",
            )

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        config = self.config
        return {
            "sample": normal(rng, BATCH, *flat_shape(config.in_channels)),  # [B, *in_channels]
            "timestep": 321,
            "encoder_hidden_states": prompt_embeddings(config.encoder_hid_dim or config.cross_attention_dim, rng),
        }
