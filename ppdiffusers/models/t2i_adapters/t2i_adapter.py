"""T2I-Adapter (Mou et al., arXiv 2302.08453): a small network that turns control images into residuals for a UNet.

It runs once for an image, not once for a step; the UNet adds each residual inside of one of its down blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal

ADAPTER_TYPES = ("full_adapter", "full_adapter_xl", "light_adapter")


class _Level(NamedTuple):
    """A block: channels of its input and of its result, and whether it halves height and width first."""

    in_channels: int
    out_channels: int
    down: bool


class Feature(NamedTuple):
    """A residual [B, channels, H / downscale, W / downscale] for control images [B, C, H, W]."""

    channels: int
    downscale: int


class T2IAdapter(ModelMixin):
    """Compute residuals for a UNet from control images; configuration and state dict are those of diffusers' class.

    Args:
        in_channels: channels of the control images; 1 for edges and sketches.
        channels: of each level, those of the UNet's levels. `light_adapter` repeats the last level.
        num_res_blocks: residual blocks of each level.
        downscale_factor: pixels along height and width that become channels; 8 for Stable Diffusion, 16 for XL.
        adapter_type: "full_adapter", "full_adapter_xl" (for Stable Diffusion XL, which adds the second residual before
            its first downsampling with attention, and the last one to its middle block), or "light_adapter".
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (320, 640, 1280, 1280),
        num_res_blocks: int = 2,
        downscale_factor: int = 8,
        adapter_type: str = "full_adapter",
    ):
        super().__init__()
        self._check_config()
        self._levels = _levels(adapter_type, list(channels), in_channels * downscale_factor**2)
        layers = _LightAdapter if adapter_type == "light_adapter" else _FullAdapter
        self.adapter = layers(self._levels, in_channels * downscale_factor**2, num_res_blocks)

    def _check_config(self) -> None:
        config = self.config
        problems = []
        if config.adapter_type not in ADAPTER_TYPES:
            problems.append(f"adapter_type = {config.adapter_type!r} (supported: {', '.join(ADAPTER_TYPES)})")
        if not config.channels:
            problems.append("channels is empty")
        elif config.adapter_type == "full_adapter_xl":
            levels = _levels("full_adapter_xl", list(config.channels), 1)
            problems += [
                f"channels of levels {n - 1} and {n} are {before.out_channels} and {after.in_channels}, not equal"
                for n, (before, after) in enumerate(zip(levels, levels[1:]), start=1)
                if before.out_channels != after.in_channels
            ]
        if problems:
            raise ConfigError("This T2IAdapter cannot be built.", problems=problems)

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Compute the residuals, one for each level, for control images `x` [B, in_channels, H, W], usually in [0, 1].

        Raises:
            InputError: another number of channels, or height and width that are not multiples of `downscale_factor`.
        """
        factor, channels = self.downscale_factor, self.config.in_channels
        problems = []
        if x.ndim != 4 or x.shape[1] != channels:
            problems.append(f"the control images are of shape {list(x.shape)}, expected [B, {channels}, H, W]")
        elif any(size % factor or not size for size in x.shape[2:]):
            problems.append(f"height and width are {list(x.shape[2:])}, not positive multiples of {factor}")
        if problems:
            raise InputError("The inputs do not fit this T2IAdapter.", problems=problems)
        return self.adapter(pixel_unshuffle(computable(x), factor))

    @property
    def downscale_factor(self) -> int:
        """Height and width of control images are multiples of it."""
        return self.config.downscale_factor

    @property
    def total_downscale_factor(self) -> int:
        """Height and width of control images, relative to those of the last residual."""
        if self.config.adapter_type == "full_adapter_xl":
            return self.downscale_factor * 2
        return self.features[-1].downscale

    @property
    def features(self) -> list[Feature]:
        """The residuals, in the order in which the UNet adds them."""
        found, downscale = [], self.downscale_factor
        for level in self._levels:
            downscale *= 2 if level.down else 1
            found.append(Feature(level.out_channels, downscale))
        return found

    # -- verification -------------------------------------------------------------------------------------------

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        size = self.total_downscale_factor
        return {"x": normal(rng, BATCH, self.config.in_channels, size, 2 * size)}  # [B, C, H, W]

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        return {f"residual_{n}": residual for n, residual in enumerate(network(**inputs))}


def pixel_unshuffle(x: paddle.Tensor, factor: int) -> paddle.Tensor:
    """Move pixels to channels: [B, C, H, W] -> [B, C * factor^2, H / factor, W / factor]."""
    batch, channels, height, width = x.shape
    height, width = height // factor, width // factor
    x = x.reshape([batch, channels, height, factor, width, factor]).transpose([0, 1, 3, 5, 2, 4])
    return x.reshape([batch, channels * factor**2, height, width])


def _levels(adapter_type: str, channels: list[int], unshuffled: int) -> list[_Level]:
    """The blocks of an adapter; `unshuffled` are the channels of its input after `pixel_unshuffle`."""
    pairs = list(zip(channels, channels[1:]))
    if adapter_type == "light_adapter":
        first, last = _Level(unshuffled, channels[0], False), _Level(channels[-1], channels[-1], True)
        return [first, *(_Level(*pair, True) for pair in pairs), last]
    if adapter_type == "full_adapter":
        return [_Level(channels[0], channels[0], False), *(_Level(*pair, True) for pair in pairs)]
    levels = [_Level(width, width, False) for width in channels]
    levels[1:3] = [_Level(*pair, down) for pair, down in zip(pairs, (False, True))]
    return levels


# -- layers -------------------------------------------------------------------------------------------------------


class _FullAdapter(nn.Layer):
    """A convolution, then levels of residual blocks."""

    def __init__(self, levels: list[_Level], in_channels: int, num_res_blocks: int):
        super().__init__()
        self.conv_in = Conv2D(in_channels, levels[0].in_channels, 3, padding=1)
        self.body = nn.LayerList([_FullBlock(level, num_res_blocks) for level in levels])

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:  # [B, C, h, w] -> one residual for each level
        return _run(self.body, self.conv_in(x))


class _LightAdapter(nn.Layer):
    """Levels of narrow residual blocks."""

    def __init__(self, levels: list[_Level], in_channels: int, num_res_blocks: int):
        super().__init__()
        self.body = nn.LayerList([_LightBlock(level, num_res_blocks) for level in levels])

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:  # [B, C, h, w] -> one residual for each level
        return _run(self.body, x)


def _run(blocks: nn.LayerList, x: paddle.Tensor) -> list[paddle.Tensor]:
    """The results of all blocks, each of which reads that of the block before it."""
    results = []
    for block in blocks:
        x = block(x)
        results.append(x)
    return results


class _FullBlock(nn.Layer):
    def __init__(self, level: _Level, num_res_blocks: int):
        super().__init__()
        self.down = level.down
        self.in_conv = None
        if level.in_channels != level.out_channels:
            self.in_conv = Conv2D(level.in_channels, level.out_channels, 1)
        self.resnets = nn.Sequential(*[_Resnet(level.out_channels, kernel=1) for _ in range(num_res_blocks)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, h, w] -> [B, O, h', w']
        x = _halve(x) if self.down else x
        return self.resnets(x if self.in_conv is None else self.in_conv(x))


class _LightBlock(nn.Layer):
    """Its residual blocks have a quarter of the channels of its result."""

    def __init__(self, level: _Level, num_res_blocks: int):
        super().__init__()
        self.down = level.down
        width = level.out_channels // 4
        self.in_conv = Conv2D(level.in_channels, width, 1)
        self.resnets = nn.Sequential(*[_Resnet(width, kernel=3) for _ in range(num_res_blocks)])
        self.out_conv = Conv2D(width, level.out_channels, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, h, w] -> [B, O, h', w']
        x = _halve(x) if self.down else x
        return self.out_conv(self.resnets(self.in_conv(x)))


class _Resnet(nn.Layer):
    """Two convolutions and a skip connection.

    Args:
        kernel: size of the second convolution.
    """

    def __init__(self, channels: int, kernel: int):
        super().__init__()
        self.block1 = Conv2D(channels, channels, 3, padding=1)
        self.block2 = Conv2D(channels, channels, kernel, padding=kernel // 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, h, w]
        return x + self.block2(F.relu(self.block1(x)))


def _halve(x: paddle.Tensor) -> paddle.Tensor:
    """Average 2x2 pixels, rounding odd sizes up as the UNet does: [B, C, h, w] -> [B, C, ceil(h / 2), ceil(w / 2)]."""
    return F.avg_pool2d(x, 2, stride=2, ceil_mode=True)
