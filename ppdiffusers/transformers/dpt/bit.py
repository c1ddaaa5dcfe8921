"""BiT, a ResNet with group normalization and weight standardization (Kolesnikov et al., "Big Transfer", arXiv
1912.11370), the backbone of hybrid vision transformers, with the names and keys of transformers."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.transformers.dpt.configuration import BitConfig
from ppdiffusers.transformers.layers import get_activation

WEIGHT_VARIANCE_EPSILON = 1e-8


def check_bit(config: BitConfig) -> list[str]:
    """Return a sentence for each setting of a configuration that is not supported."""
    stages = len(config.depths)
    known = {
        "layer_type": ("bottleneck",),
        "output_stride": (32,),
        "global_padding": (None, "same", "valid", "SAME", "VALID"),
    }
    problems = [f"{key} = {config.get(key)!r}" for key, values in known.items() if config.get(key) not in values]
    if stages > 4:
        problems.append(f"depths has {stages} stages; an output_stride of 32 has at most 4")
    names = [f"stage{n + 1}" for n in range(stages)]
    features = config.out_features or []
    if len(features) != 3 or not set(features) <= set(names):
        problems.append(f"out_features = {config.out_features!r}: expected three of {', '.join(names)}")
    return [f"backbone_config: {problem}" for problem in problems]


def stage_widths(config: BitConfig) -> list[int]:
    """Return the number of output channels of each stage."""
    return [_to_multiple_of_8(width * config.width_factor) for width, _ in zip(config.hidden_sizes, config.depths)]


def _to_multiple_of_8(value: float) -> int:
    """Round to the nearest multiple of 8, or up if rounding down would lose more than 10 %."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def pad_same(x: paddle.Tensor, kernel: int, stride: int) -> paddle.Tensor:
    """Pad [B, C, H, W] with zeros so that a kernel's output is [B, C, ceil(H / stride), ceil(W / stride)].

    An odd number of rows or columns has the extra one at the bottom or on the right.
    """
    height, width = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:])
    if not (height or width):
        return x
    top, left = height // 2, width // 2
    return F.pad(x, [left, width - left, top, height - top])


class WeightStandardizedConv2d(nn.Conv2D):
    """Convolution whose kernels are standardized to mean 0 and variance 1 (Qiao et al., arXiv 1903.10520)."""

    def __init__(self, config: BitConfig, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1):
        padding = (config.global_padding or "").upper()
        self.same = padding == "SAME"
        symmetric = 0 if padding else (stride - 1 + kernel_size - 1) // 2
        super().__init__(in_channels, out_channels, kernel_size, stride, symmetric, bias_attr=False)
        self.kernel, self.step, self.symmetric_padding = kernel_size, stride, symmetric

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.same:
            x = pad_same(x, self.kernel, self.step)
        mean = self.weight.mean(axis=[1, 2, 3], keepdim=True)  # [O, 1, 1, 1]
        centered = self.weight - mean  # [O, I, K, K]
        variance = (centered * centered).mean(axis=[1, 2, 3], keepdim=True)  # [O, 1, 1, 1]
        weight = centered * paddle.rsqrt(variance + WEIGHT_VARIANCE_EPSILON)  # [O, I, K, K]
        return F.conv2d(x, weight, None, self.step, self.symmetric_padding)


class BitGroupNormActivation(nn.GroupNorm):
    """Group normalization, followed by the activation if `apply_activation`."""

    def __init__(self, config: BitConfig, num_channels: int, apply_activation: bool = True):
        super().__init__(config.num_groups, num_channels, epsilon=1e-5)
        self.activation = get_activation(config.hidden_act) if apply_activation else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = super().forward(x)
        return x if self.activation is None else self.activation(x)


class BitEmbeddings(nn.Layer):
    """Convolution and max pooling, which reduce height and width by 4."""

    def __init__(self, config: BitConfig):
        super().__init__()
        self.convolution = WeightStandardizedConv2d(config, config.num_channels, config.embedding_size, 7, 2)
        self.norm = BitGroupNormActivation(config, config.embedding_size)
        self.pad_before_pooling = not self.convolution.same
        self.dynamic_padding = config.embedding_dynamic_padding

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:  # [B, 3, H, W]
        x = self.convolution(pixel_values)
        x = self.norm(F.pad(x, [1, 1, 1, 1]) if self.pad_before_pooling else x)
        return F.max_pool2d(pad_same(x, 3, 2) if self.dynamic_padding else x, 3, 2)  # [B, C, H / 4, W / 4]


class BitDownsampleConv(nn.Layer):
    def __init__(self, config: BitConfig, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv = WeightStandardizedConv2d(config, in_channels, out_channels, 1, stride)
        self.norm = BitGroupNormActivation(config, out_channels, apply_activation=False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.norm(self.conv(x))


class BitBottleneckLayer(nn.Layer):
    """Residual block: 1x1 convolution to a quarter of the channels, 3x3 convolution, 1x1 convolution."""

    def __init__(self, config: BitConfig, in_channels: int, out_channels: int, stride: int, first: bool):
        super().__init__()
        inner = _to_multiple_of_8(out_channels * 0.25)
        self.downsample = BitDownsampleConv(config, in_channels, out_channels, stride) if first else None
        self.conv1 = WeightStandardizedConv2d(config, in_channels, inner, 1)
        self.norm1 = BitGroupNormActivation(config, inner)
        self.conv2 = WeightStandardizedConv2d(config, inner, inner, 3, stride)
        self.norm2 = BitGroupNormActivation(config, inner)
        self.conv3 = WeightStandardizedConv2d(config, inner, out_channels, 1)
        self.norm3 = BitGroupNormActivation(config, out_channels, apply_activation=False)
        self.activation = get_activation(config.hidden_act)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.norm1(self.conv1(x))
        x = self.norm2(self.conv2(x))
        return self.activation(self.norm3(self.conv3(x)) + shortcut)


class BitStage(nn.Layer):
    def __init__(self, config: BitConfig, in_channels: int, out_channels: int, stride: int, depth: int):
        super().__init__()
        layers = [BitBottleneckLayer(config, in_channels, out_channels, stride, first=True)]
        layers += [BitBottleneckLayer(config, out_channels, out_channels, 1, first=False) for _ in range(depth - 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.layers(x)


class BitEncoder(nn.Layer):
    def __init__(self, config: BitConfig):
        super().__init__()
        widths = stage_widths(config)
        self.stages = nn.LayerList(
            [
                BitStage(config, before, width, 1 if n == 0 else 2, depth)
                for n, (before, width, depth) in enumerate(zip([config.embedding_size, *widths], widths, config.depths))
            ]
        )

    def forward(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Return the output of each stage."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class BitModel(nn.Layer):
    def __init__(self, config: BitConfig):
        super().__init__()
        self.embedder = BitEmbeddings(config)
        self.encoder = BitEncoder(config)

    def forward(self, pixel_values: paddle.Tensor) -> list[paddle.Tensor]:
        return self.encoder(self.embedder(pixel_values))


class BitBackbone(nn.Layer):
    """Return the features of the stages in `out_features`: [B, C, H / 4, W / 4], [B, C, H / 8, W / 8], ..."""

    def __init__(self, config: BitConfig):
        super().__init__()
        self.out_indices = [n for n in range(len(config.depths)) if f"stage{n + 1}" in config.out_features]
        self.bit = BitModel(config)

    def forward(self, pixel_values: paddle.Tensor) -> list[paddle.Tensor]:
        features = self.bit(pixel_values)
        return [features[n] for n in self.out_indices]
