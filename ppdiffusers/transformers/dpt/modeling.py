"""DPT, depth from one picture (Ranftl et al., "Vision Transformers for Dense Prediction", arXiv 2103.13413); names and
keys as in the original library."""

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
from ppdiffusers.transformers.layers import attend, check_heads, get_activation
from ppdiffusers.transformers.modeling_utils import PretrainedModel
from ppdiffusers.utils.dtypes import check_computable
from ppdiffusers.utils.dummy_inputs import DummyInputs, pixel_values


@dataclass
class DepthEstimatorOutput(BaseOutput):
    """`predicted_depth` [B, H, W], larger is nearer; `hidden_states`: layers + 1 of [B, S, D]."""

    predicted_depth: paddle.Tensor = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None


def _bilinear(x: paddle.Tensor, size: Sequence[int], align_corners: bool = False) -> paddle.Tensor:
    """[B, C, H, W] -> [B, C, *size]: along each side a product with a matrix, since oneDNN programs cannot interpolate.
    They multiply a convolution's result wrongly, too, unless it is flattened first."""
    for new in size[::-1]:  # the width first, then the height
        batch, channels, other, old = x.shape
        weights = paddle.to_tensor(_bilinear_weights(old, new, align_corners).T).astype(x.dtype)
        x = paddle.matmul(x.reshape([-1, old]), weights)  # [B * C * other, new]
        x = x.reshape([batch, channels, other, new]).transpose([0, 1, 3, 2])
    return x


def _bilinear_weights(old: int, new: int, align_corners: bool) -> np.ndarray:
    """What each of `new` pixels takes of each of `old`: [new, old]."""
    pixels = np.arange(new)
    if align_corners:
        at = pixels * ((old - 1) / max(new - 1, 1))
    else:
        at = ((pixels + 0.5) * (old / new) - 0.5).clip(0)
    before = np.floor(at).astype(np.int64)
    after = np.minimum(before + 1, old - 1)
    weights = np.zeros([new, old])
    np.add.at(weights, (pixels, before), 1 - (at - before))
    np.add.at(weights, (pixels, after), at - before)
    return weights.astype(np.float32)


# -- the transformer ------------------------------------------------------------------------------------------------


class DPTViTPatchEmbeddings(nn.Layer):
    def __init__(self, config: DPTConfig):
        super().__init__()
        patch = config.patch_size
        self.projection = nn.Conv2D(config.num_channels, config.hidden_size, patch, stride=patch)

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        return self.projection(pixel_values).flatten(2).transpose([0, 2, 1])  # [B, patches, D]


class DPTViTEmbeddings(nn.Layer):
    """A class token and the patches, with their positions, which are interpolated to other sizes."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        width = config.hidden_size
        self.patch_size, self.side = config.patch_size, config.image_size // config.patch_size
        zero = nn.initializer.Constant(0.0)
        self.cls_token = self.create_parameter([1, 1, width], default_initializer=zero)
        self.position_embeddings = self.create_parameter([1, self.side**2 + 1, width], default_initializer=zero)
        self._make_patches(config)

    def _make_patches(self, config: DPTConfig) -> None:
        self.patch_embeddings = DPTViTPatchEmbeddings(config)

    def _patches(self, pixel_values: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Patches [B, N, D], and features that go past the transformer."""
        return self.patch_embeddings(pixel_values), []

    def forward(self, pixel_values: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """Pictures [B, C, H, W] -> tokens [B, N + 1, D], and features that go past the transformer."""
        patches, features = self._patches(pixel_values)
        first = self.cls_token.expand([patches.shape[0], 1, patches.shape[2]])
        grid = [side // self.patch_size for side in pixel_values.shape[2:]]
        return paddle.concat([first, patches], axis=1) + self._positions(grid), features

    def _positions(self, grid: list[int]) -> paddle.Tensor:  # [1, N + 1, D]
        if grid == [self.side, self.side]:
            return self.position_embeddings
        first, rest = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        rest = rest.transpose([0, 2, 1]).reshape([1, -1, self.side, self.side])  # [1, D, side, side]
        return paddle.concat([first, _bilinear(rest, grid).flatten(2).transpose([0, 2, 1])], axis=1)


class DPTViTHybridEmbeddings(DPTViTEmbeddings):
    """The same over the last features of BiT; the first two go past the transformer."""

    def _make_patches(self, config: DPTConfig) -> None:
        self.backbone = BitBackbone(config.backbone_config)
        self.projection = nn.Conv2D(config.backbone_featmap_shape[1], config.hidden_size, 1)

    def _patches(self, pixel_values: paddle.Tensor) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        *features, last = self.backbone(pixel_values)
        return self.projection(last).flatten(2).transpose([0, 2, 1]), features


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

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        dropout = self.dropout if self.training else 0.0
        return attend(self.query(x), self.key(x), self.value(x), self.num_heads, None, dropout)


class DPTDense(nn.Layer):
    """A linear layer, called `dense` in the published keys; then an activation or dropout."""

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

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        mixed, weights = self.attention(x)
        return self.output(mixed), weights


class DPTViTLayer(nn.Layer):
    """Attention and a two-layer network, each on a LayerNorm of its input and added to it."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.attention = DPTViTAttention(config)
        self.intermediate = DPTDense(width, inner, config.hidden_act)
        self.output = DPTDense(inner, width, dropout=config.hidden_dropout_prob)
        self.layernorm_before = nn.LayerNorm(width, epsilon=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(width, epsilon=config.layer_norm_eps)

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        attended, weights = self.attention(self.layernorm_before(x))
        x = x + attended
        return x + self.output(self.intermediate(self.layernorm_after(x))), weights


class DPTViTEncoder(nn.Layer):
    def __init__(self, config: DPTConfig):
        super().__init__()
        self.layer = nn.LayerList([DPTViTLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: paddle.Tensor) -> tuple[list, list]:
        """All hidden states, the input first, and all attention weights."""
        states, attentions = [x], []
        for layer in self.layer:
            x, weights = layer(x)
            states.append(x)
            attentions.append(weights)
        return states, attentions


class DPTModel(nn.Layer):
    """The transformer; its last norm is not used for depth, but the published files hold it."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        self.embeddings = (DPTViTHybridEmbeddings if config.is_hybrid else DPTViTEmbeddings)(config)
        self.encoder = DPTViTEncoder(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(self, pixel_values: paddle.Tensor) -> tuple[list, list, list]:
        """Hidden states, attention weights, and features that go past the transformer."""
        tokens, features = self.embeddings(pixel_values)
        return *self.encoder(tokens), features


# -- the neck: tokens to feature maps of several sizes, and these to one ---------------------------------------------


class DPTReassembleLayer(nn.Layer):
    """A feature map to other channels, and `factor` times as large."""

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
    """Tokens back to a grid, with what the class token says; the features that went past stay as they are."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        self.passed = set(config.neck_ignore_stages)
        self.readout = config.readout_type
        sizes = list(enumerate(zip(config.neck_hidden_sizes, config.reassemble_factors)))
        self.layers = nn.LayerList(
            [
                nn.Identity() if n in self.passed else DPTReassembleLayer(config, channels, factor)
                for n, (channels, factor) in sizes
            ]
        )
        if self.readout == "project":
            width = config.hidden_size
            self.activation = get_activation(config.hidden_act)
            projects = [[] if n in self.passed else [nn.Linear(2 * width, width)] for n, _ in sizes]
            self.readout_projects = nn.LayerList([nn.LayerList(project) for project in projects])

    def forward(self, hidden_states: list[paddle.Tensor], grid: list[int]) -> list[paddle.Tensor]:
        return [
            state if n in self.passed else self.layers[n](self._as_grid(n, state, grid))
            for n, state in enumerate(hidden_states)
        ]

    def _as_grid(self, n: int, tokens: paddle.Tensor, grid: list[int]) -> paddle.Tensor:
        first, patches = tokens[:, :1], tokens[:, 1:]  # [B, 1, D], [B, N, D]
        if self.readout == "project":
            both = paddle.concat([patches, first.expand(patches.shape)], axis=-1)
            patches = self.activation(self.readout_projects[n][0](both))
        elif self.readout == "add":
            patches = patches + first
        return patches.transpose([0, 2, 1]).reshape([patches.shape[0], patches.shape[2], *grid])


class DPTPreActResidualLayer(nn.Layer):
    """Two convolutions, each after an activation; plus the input."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        width = config.fusion_hidden_size
        bias_attr = False if config.use_bias_in_fusion_residual is False else None
        self.convolution1 = nn.Conv2D(width, width, 3, padding=1, bias_attr=bias_attr)
        self.convolution2 = nn.Conv2D(width, width, 3, padding=1, bias_attr=bias_attr)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.convolution2(F.relu(self.convolution1(F.relu(x)))) + x


class DPTFeatureFusionLayer(nn.Layer):
    """What the coarser features gave, plus the finer ones, twice as large."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        self.projection = nn.Conv2D(config.fusion_hidden_size, config.fusion_hidden_size, 1)
        self.residual_layer1 = DPTPreActResidualLayer(config)
        self.residual_layer2 = DPTPreActResidualLayer(config)

    def forward(self, coarser: paddle.Tensor, finer: paddle.Tensor | None = None) -> paddle.Tensor:
        if finer is not None:
            coarser = coarser + self.residual_layer1(_bilinear(finer, coarser.shape[2:]))
        x = self.residual_layer2(coarser)
        return self.projection(_bilinear(x, [2 * side for side in x.shape[2:]], align_corners=True))


class DPTFeatureFusionStage(nn.Layer):
    def __init__(self, config: DPTConfig):
        super().__init__()
        self.layers = nn.LayerList([DPTFeatureFusionLayer(config) for _ in config.neck_hidden_sizes])

    def forward(self, features: list[paddle.Tensor]) -> list[paddle.Tensor]:
        """From the coarsest to the finest: what each step of fusing gave."""
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


class _Double(nn.Layer):
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return _bilinear(x, [2 * side for side in x.shape[2:]], align_corners=True)


class DPTDepthEstimationHead(nn.Layer):
    """Features to one number for each pixel, at least 0."""

    def __init__(self, config: DPTConfig):
        super().__init__()
        width = config.fusion_hidden_size
        self.index = config.head_in_index
        self.projection = nn.Conv2D(256, 256, 3, padding=1) if config.add_projection else None
        self.head = nn.Sequential(
            nn.Conv2D(width, width // 2, 3, padding=1),
            _Double(),
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


# -- the model that is loaded and saved -------------------------------------------------------------------------------


class DPTForDepthEstimation(PretrainedModel):
    """Depth of every pixel: over patches, or hybrid, over the features of BiT, as Stable Diffusion 2 uses it."""

    config_class = DPTConfig
    ignore_unexpected = (r"^dpt\.pooler\.",)  # older files hold one, which no depth comes from

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
        """Depth [B, H, W] of pictures [B, 3, H, W]; H and W are `image_size`, or without BiT multiples of the patch."""
        self._check_pictures(pixel_values)
        states, attentions, features = self.dpt(pixel_values)
        chosen = self.config.backbone_out_indices[len(features) :]
        features = features + [state for n, state in enumerate(states[1:]) if n in chosen]
        grid = [side // self.config.patch_size for side in pixel_values.shape[2:]]
        depth = self.head(self.neck(features, grid))
        output = DepthEstimatorOutput(depth, tuple(states), tuple(attentions))
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def _check_pictures(self, pixel_values: paddle.Tensor) -> None:
        config = self.config
        if pixel_values is None:
            raise InputError("pixel_values is None: DPT needs pictures [B, C, H, W].")
        check_computable(self.dpt.layernorm.weight, "DPT")
        shape, patch = list(pixel_values.shape), config.patch_size
        fits = len(shape) == 4 and shape[1] == config.num_channels
        if fits and config.is_hybrid:
            fits = shape[2:] == [config.image_size] * 2
        if not fits or any(side % patch for side in shape[2:]):
            sides = f"{config.image_size}, {config.image_size}" if config.is_hybrid else f"multiples of {patch}"
            raise InputError(f"The picture has shape {shape}.", expected=f"[batch, {config.num_channels}, {sides}]")

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"pixel_values": pixel_values(self.config, rng)}

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        """Compare hidden states too: with random weights the last ReLU may return nothing but zeros."""
        output = network(**inputs, output_hidden_states=True)
        return {"hidden_states": output.hidden_states[-1], "predicted_depth": output.predicted_depth}


def _check_config(config: DPTConfig) -> None:
    """Raise one ConfigError that lists what cannot be built."""
    problems = check_bit(config.backbone_config) if config.is_hybrid else []
    if not config.is_hybrid and (config.backbone_config is not None or config.backbone is not None):
        problems.append("a backbone without is_hybrid = True: only BiT is known")
    if config.readout_type not in (("project",) if config.is_hybrid else ("ignore", "add", "project")):
        problems.append(f"readout_type = {config.readout_type!r}")
    if config.use_batch_norm_in_fusion_residual:
        problems.append("use_batch_norm_in_fusion_residual = True")
    if not isinstance(config.image_size, int) or not isinstance(config.patch_size, int):
        problems.append("image_size and patch_size must be whole numbers: square pictures and patches")
    if problems:
        raise ConfigError("This DPTForDepthEstimation cannot be built.", problems=problems)
