"""DPT, monocular depth estimation (Ranftl et al., "Vision Transformers for Dense Prediction", arXiv 2103.13413), with
the names and keys of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.transformers.dpt.bit import BitBackbone, check_bit
from ppdiffusers.transformers.dpt.configuration import DPTConfig
from ppdiffusers.transformers.layers import check_heads, get_activation, multi_head_attention
from ppdiffusers.transformers.modeling_utils import PretrainedModel
from ppdiffusers.utils.dtypes import check_computable, computable
from ppdiffusers.utils.dummy_inputs import DummyInputs, pixel_values


@dataclass
class DepthEstimatorOutput(BaseOutput):
    """Outputs of DPT.

    Attributes:
        predicted_depth: [B, H, W]; larger values are nearer.
        hidden_states: input of the first layer and output of each layer, each [B, S, D].
        attentions: attention weights of each layer, each [B, heads, S, S].
    """

    predicted_depth: paddle.Tensor | None = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None


def _bilinear(x: paddle.Tensor, size: Sequence[int], align_corners: bool = False) -> paddle.Tensor:
    """Interpolate [B, C, H, W] to [B, C, *size], as one matrix product along the width and one along the height.

    oneDNN programs have no interpolation. They also compute wrong products of a convolution's result unless it is
    flattened first.
    """
    for new in size[::-1]:  # width, then height
        batch, channels, other, old = x.shape
        weights = paddle.to_tensor(_bilinear_weights(old, new, align_corners).T).astype(x.dtype)  # [old, new]
        x = paddle.matmul(x.reshape([-1, old]), weights)  # [B * C * other, new]
        x = x.reshape([batch, channels, other, new]).transpose([0, 1, 3, 2])  # [B, C, new, other]
    return x


def _bilinear_weights(old: int, new: int, align_corners: bool) -> np.ndarray:
    """Return the interpolation matrix [new, old]: the weight of each old pixel in each new pixel."""
    pixels = np.arange(new)
    if align_corners:
        position = pixels * ((old - 1) / max(new - 1, 1))
    else:
        position = ((pixels + 0.5) * (old / new) - 0.5).clip(0)
    before = np.floor(position).astype(np.int64)
    after = np.minimum(before + 1, old - 1)
    weights = np.zeros([new, old])
    np.add.at(weights, (pixels, before), 1 - (position - before))
    np.add.at(weights, (pixels, after), position - before)
    return weights.astype(np.float32)


# -- vision transformer ---------------------------------------------------------------------------------------------


class DPTViTPatchEmbeddings(nn.Layer):
    def __init__(self, config: DPTConfig):
        super().__init__()
        patch = config.patch_size
        self.projection = nn.Conv2D(config.num_channels, config.hidden_size, patch, stride=patch)

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        return self.projection(pixel_values).flatten(2).transpose([0, 2, 1])  # [B, N, D]


class DPTViTEmbeddings(nn.Layer):
    """Class token and patch embeddings; position embeddings are interpolated to the size of the image."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        width = config.hidden_size
        self.patch_size, self.grid_size = config.patch_size, config.image_size // config.patch_size
        zeros = nn.initializer.Constant(0.0)
        self.cls_token = self.create_parameter([1, 1, width], default_initializer=zeros)
        self.position_embeddings = self.create_parameter([1, self.grid_size**2 + 1, width], default_initializer=zeros)
        self._create_patch_embeddings(config)

    def _create_patch_embeddings(self, config: DPTConfig) -> None:
        self.patch_embeddings = DPTViTPatchEmbeddings(config)

    def _embed_patches(self, pixel_values: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Return patch embeddings [B, N, D], and backbone features for the neck."""
        return self.patch_embeddings(pixel_values), []

    def forward(self, pixel_values: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Embed images [B, C, H, W]: tokens [B, N + 1, D], and backbone features for the neck."""
        patches, features = self._embed_patches(pixel_values)  # [B, N, D]
        class_token = self.cls_token.expand([patches.shape[0], 1, patches.shape[2]])  # [B, 1, D]
        grid = [pixels // self.patch_size for pixels in pixel_values.shape[2:]]
        return paddle.concat([class_token, patches], axis=1) + self._interpolate_positions(grid), features

    def _interpolate_positions(self, grid: list[int]) -> paddle.Tensor:  # [1, N + 1, D]
        size = self.grid_size
        if grid == [size, size]:
            return self.position_embeddings
        class_position, positions = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        positions = positions.transpose([0, 2, 1]).reshape([1, -1, size, size])  # [1, D, size, size]
        positions = _bilinear(positions, grid).flatten(2).transpose([0, 2, 1])  # [1, N, D]
        return paddle.concat([class_position, positions], axis=1)


class DPTViTHybridEmbeddings(DPTViTEmbeddings):
    """Embeddings of the last BiT features; the other features go to the neck directly."""

    def _create_patch_embeddings(self, config: DPTConfig) -> None:
        self.backbone = BitBackbone(config.backbone_config)
        self.projection = nn.Conv2D(config.backbone_featmap_shape[1], config.hidden_size, 1)

    def _embed_patches(self, pixel_values: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        *features, last = self.backbone(pixel_values)
        return self.projection(last).flatten(2).transpose([0, 2, 1]), features  # [B, N, D]


class DPTSelfAttention(nn.Layer):
    def __init__(self, config: DPTConfig):
        super().__init__()
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        check_heads(width, self.num_heads)
        self.dropout = config.attention_probs_dropout_prob
        bias_attr = None if config.qkv_bias else False
        self.query = nn.Linear(width, width, bias_attr=bias_attr)
        self.key = nn.Linear(width, width, bias_attr=bias_attr)
        self.value = nn.Linear(width, width, bias_attr=bias_attr)

    def forward(self, x: paddle.Tensor, output_attentions: bool = False) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Return the result [B, S, D], and the attention weights [B, H, S, S] or None."""
        dropout = self.dropout if self.training else 0.0
        query, key, value = self.query(x), self.key(x), self.value(x)  # [B, S, D]
        return multi_head_attention(query, key, value, self.num_heads, None, dropout, output_attentions)


class DPTDense(nn.Layer):
    """Linear layer (`dense` in the state dict), followed by an activation or dropout."""

    def __init__(self, in_features: int, out_features: int, activation: str | None = None, dropout: float = 0.0):
        super().__init__()
        self.dense = nn.Linear(in_features, out_features)
        self.finish = nn.Dropout(dropout) if activation is None else get_activation(activation)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.finish(self.dense(x))


class DPTViTAttention(nn.Layer):
    def __init__(self, config: DPTConfig):
        super().__init__()
        self.attention = DPTSelfAttention(config)
        self.output = DPTDense(config.hidden_size, config.hidden_size, dropout=config.hidden_dropout_prob)

    def forward(self, x: paddle.Tensor, output_attentions: bool = False) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        mixed, weights = self.attention(x, output_attentions)
        return self.output(mixed), weights


class DPTViTLayer(nn.Layer):
    """Pre-norm transformer layer: self-attention and MLP, each with a residual connection."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.attention = DPTViTAttention(config)
        self.intermediate = DPTDense(width, inner, config.hidden_act)
        self.output = DPTDense(inner, width, dropout=config.hidden_dropout_prob)
        self.layernorm_before = nn.LayerNorm(width, epsilon=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(width, epsilon=config.layer_norm_eps)

    def forward(self, x: paddle.Tensor, output_attentions: bool = False) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        attended, weights = self.attention(self.layernorm_before(x), output_attentions)
        x = x + attended
        return x + self.output(self.intermediate(self.layernorm_after(x))), weights


class DPTViTEncoder(nn.Layer):
    def __init__(self, config: DPTConfig):
        super().__init__()
        self.layer = nn.LayerList([DPTViTLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(
        self, x: paddle.Tensor, output_attentions: bool = False
    ) -> tuple[tuple[paddle.Tensor, ...], tuple[paddle.Tensor, ...] | None]:
        """Return the hidden states, starting with the input, and the attention weights or None."""
        states, attentions = [x], []
        for layer in self.layer:
            x, weights = layer(x, output_attentions)
            states.append(x)
            attentions.append(weights)
        return tuple(states), tuple(attentions) if output_attentions else None


class DPTModel(nn.Layer):
    """Vision transformer. Depth estimation does not use its last LayerNorm, which is part of released weights."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        self.embeddings = (DPTViTHybridEmbeddings if config.is_hybrid else DPTViTEmbeddings)(config)
        self.encoder = DPTViTEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(
        self, pixel_values: paddle.Tensor, output_attentions: bool = False
    ) -> tuple[tuple[paddle.Tensor, ...], tuple[paddle.Tensor, ...] | None, list[paddle.Tensor]]:
        """Return hidden states, attention weights or None, and backbone features for the neck."""
        tokens, features = self.embeddings(pixel_values)
        return *self.encoder(tokens, output_attentions), features


# -- neck: tokens to feature maps of several sizes, fused from coarse to fine ----------------------------------------


class DPTReassembleLayer(nn.Layer):
    """Project a feature map to `channels` channels and resize it by `factor`."""

    def __init__(self, config: DPTConfig, channels: int, factor: float):
        super().__init__()
        self.projection = nn.Conv2D(config.hidden_size, channels, 1)
        if factor > 1:
            self.resize = nn.Conv2DTranspose(channels, channels, int(factor), stride=int(factor))
        elif factor < 1:
            self.resize = nn.Conv2D(channels, channels, 3, stride=int(1 / factor), padding=1)
        else:
            self.resize = nn.Identity()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.resize(self.projection(x))


class DPTReassembleStage(nn.Layer):
    """Arrange tokens as a feature map and combine them with the class token; backbone features are kept."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        self.ignored_stages = set(config.neck_ignore_stages)
        self.readout = config.readout_type
        sizes = list(enumerate(zip(config.neck_hidden_sizes, config.reassemble_factors)))
        self.layers = nn.LayerList(
            [
                nn.Identity() if n in self.ignored_stages else DPTReassembleLayer(config, channels, factor)
                for n, (channels, factor) in sizes
            ]
        )
        if self.readout == "project":
            width = config.hidden_size
            self.activation = get_activation(config.hidden_act)
            projects = [[] if n in self.ignored_stages else [nn.Linear(2 * width, width)] for n, _ in sizes]
            self.readout_projects = nn.LayerList([nn.LayerList(project) for project in projects])

    def forward(self, hidden_states: list[paddle.Tensor], grid: list[int]) -> list[paddle.Tensor]:
        return [
            state if n in self.ignored_stages else self.layers[n](self._to_feature_map(n, state, grid))
            for n, state in enumerate(hidden_states)
        ]

    def _to_feature_map(self, n: int, tokens: paddle.Tensor, grid: list[int]) -> paddle.Tensor:
        class_token, patches = tokens[:, :1], tokens[:, 1:]  # [B, 1, D], [B, N, D]
        if self.readout == "project":
            both = paddle.concat([patches, class_token.expand(patches.shape)], axis=-1)  # [B, N, 2 * D]
            patches = self.activation(self.readout_projects[n][0](both))  # [B, N, D]
        elif self.readout == "add":
            patches = patches + class_token
        return patches.transpose([0, 2, 1]).reshape([patches.shape[0], patches.shape[2], *grid])  # [B, D, *grid]


class DPTPreActResidualLayer(nn.Layer):
    """Pre-activation residual block of two convolutions."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        width = config.fusion_hidden_size
        bias_attr = False if config.use_bias_in_fusion_residual is False else None
        self.convolution1 = nn.Conv2D(width, width, 3, padding=1, bias_attr=bias_attr)
        self.convolution2 = nn.Conv2D(width, width, 3, padding=1, bias_attr=bias_attr)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.convolution2(F.relu(self.convolution1(F.relu(x)))) + x


class DPTFeatureFusionLayer(nn.Layer):
    """Add finer features to the fused coarser features, and upsample by 2."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        self.projection = nn.Conv2D(config.fusion_hidden_size, config.fusion_hidden_size, 1)
        self.residual_layer1 = DPTPreActResidualLayer(config)
        self.residual_layer2 = DPTPreActResidualLayer(config)

    def forward(self, coarser: paddle.Tensor, finer: paddle.Tensor | None = None) -> paddle.Tensor:
        if finer is not None:
            coarser = coarser + self.residual_layer1(_bilinear(finer, coarser.shape[2:]))
        x = self.residual_layer2(coarser)
        return self.projection(_bilinear(x, [2 * size for size in x.shape[2:]], align_corners=True))


class DPTFeatureFusionStage(nn.Layer):
    def __init__(self, config: DPTConfig):
        super().__init__()
        self.layers = nn.LayerList([DPTFeatureFusionLayer(config) for _ in config.neck_hidden_sizes])

    def forward(self, features: list[paddle.Tensor]) -> list[paddle.Tensor]:
        """Fuse features from the coarsest to the finest; return the result of each step."""
        fused = []
        for layer, feature in zip(self.layers, features[::-1]):
            fused.append(layer(fused[-1], feature) if fused else layer(feature))
        return fused


class DPTNeck(nn.Layer):
    def __init__(self, config: DPTConfig):
        super().__init__()
        self.reassemble_stage = DPTReassembleStage(config)
        width = config.fusion_hidden_size
        self.convs = nn.LayerList(
            [nn.Conv2D(channels, width, 3, padding=1, bias_attr=False) for channels in config.neck_hidden_sizes]
        )
        self.fusion_stage = DPTFeatureFusionStage(config)

    def forward(self, hidden_states: list[paddle.Tensor], grid: list[int]) -> list[paddle.Tensor]:
        features = self.reassemble_stage(hidden_states, grid)
        return self.fusion_stage([conv(feature) for conv, feature in zip(self.convs, features)])


class _Upsample2x(nn.Layer):
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return _bilinear(x, [2 * size for size in x.shape[2:]], align_corners=True)


class DPTDepthEstimationHead(nn.Layer):
    """Predict the depth of each pixel, which is not negative."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        width = config.fusion_hidden_size
        self.index = config.head_in_index
        self.projection = nn.Conv2D(256, 256, 3, padding=1) if config.add_projection else None
        self.head = nn.Sequential(
            nn.Conv2D(width, width // 2, 3, padding=1),
            _Upsample2x(),
            nn.Conv2D(width // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2D(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, features: list[paddle.Tensor]) -> paddle.Tensor:  # [B, H, W]
        x = features[self.index]
        if self.projection is not None:
            x = F.relu(self.projection(x))
        return self.head(x).squeeze(1)


# -- model ----------------------------------------------------------------------------------------------------------


class DPTForDepthEstimation(PretrainedModel):
    """Estimate the depth of each pixel, from patches or (`is_hybrid`, in Stable Diffusion 2) from BiT features."""

    config_class = DPTConfig
    ignore_unexpected = (r"^dpt\.pooler\.",)  # in legacy files; not used for depth estimation

    def __init__(self, config: DPTConfig):
        super().__init__(config)
        _check_config(config)
        self.dpt = DPTModel(config)
        self.neck = DPTNeck(config)
        self.head = DPTDepthEstimationHead(config)

    def get_input_embeddings(self) -> nn.Layer:
        embeddings = self.dpt.embeddings
        return embeddings if self.config.is_hybrid else embeddings.patch_embeddings

    def forward(
        self,
        pixel_values: paddle.Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> DepthEstimatorOutput | tuple:
        """Estimate the depth [B, H, W] of images [B, 3, H, W].

        Height and width are `image_size` for hybrid models, and multiples of `patch_size` for others.
        """
        self._check_pixel_values(pixel_values)
        requested = self._requests(output_attentions, "output_attentions")
        states, attentions, features = self.dpt(computable(pixel_values), requested)
        indices = self.config.backbone_out_indices[len(features) :]
        features = features + [state for n, state in enumerate(states[1:]) if n in indices]
        grid = [pixels // self.config.patch_size for pixels in pixel_values.shape[2:]]
        depth = self.head(self.neck(features, grid))  # [B, H, W]
        output = DepthEstimatorOutput(depth, states, attentions)
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def _check_pixel_values(self, pixel_values: paddle.Tensor | None) -> None:
        config = self.config
        if pixel_values is None:
            raise InputError("pixel_values is None.", expected="images [B, C, H, W]")
        check_computable(self.dpt.layernorm.weight, "DPT")
        shape, patch = list(pixel_values.shape), config.patch_size
        fits = len(shape) == 4 and shape[1] == config.num_channels
        if fits and config.is_hybrid:
            fits = shape[2:] == [config.image_size] * 2
        if not fits or any(pixels % patch for pixels in shape[2:]):
            size = f"{config.image_size}, {config.image_size}" if config.is_hybrid else f"multiples of {patch}"
            raise InputError(f"pixel_values has shape {shape}.", expected=f"[batch, {config.num_channels}, {size}]")

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"pixel_values": pixel_values(self.config, rng)}

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        """Compare hidden states too: with random weights the last ReLU may return nothing but zeros."""
        output = network(**inputs, output_hidden_states=True)
        return {"hidden_states": output.hidden_states[-1], "predicted_depth": output.predicted_depth}


def _check_config(config: DPTConfig) -> None:
    """Check that the configuration is supported.

    Raises:
        ConfigError: it is not; the message lists all problems.
    """
    problems = check_bit(config.backbone_config) if config.is_hybrid else []
    if not config.is_hybrid and (config.backbone_config is not None or config.backbone is not None):
        problems.append("a backbone without is_hybrid = True: only BiT, with is_hybrid = True, is supported")
    if config.readout_type not in (("project",) if config.is_hybrid else ("ignore", "add", "project")):
        problems.append(f"readout_type = {config.readout_type!r}")
    if config.use_batch_norm_in_fusion_residual:
        problems.append("use_batch_norm_in_fusion_residual = True")
    if not isinstance(config.image_size, int) or not isinstance(config.patch_size, int):
        problems.append("image_size and patch_size must be integers: images and patches are square")
    if problems:
        raise ConfigError("This DPTForDepthEstimation cannot be built.", problems=problems)
