"""The encoder of ControlNets: that of a UNet, and one convolution that starts at zero for each residual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.attention.masks import mask_to_bias
from ppdiffusers.models.blocks.checks import check_channels
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.embeddings import TimestepEmbedding, Timesteps
from ppdiffusers.models.blocks.factory import (
    check_block_types,
    get_down_block,
    get_mid_block,
    has_cross_attention,
    known_block_types,
)
from ppdiffusers.models.blocks.settings import BlockSettings
from ppdiffusers.models.modeling_utils import ModelMixin, per_level, wrong_lengths
from ppdiffusers.models.unets.condition_embeddings import ConditionEmbeddings
from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal, prompt_embeddings, small_size

_PER_LEVEL = (
    *("down_block_types", "only_cross_attention", "transformer_layers_per_block"),
    *("attention_head_dim", "num_attention_heads"),
)
Network = TypeVar("Network", bound="ControlNetEncoder")


def zero_conv(in_channels: int, out_channels: int, kernel_size: int = 1) -> Conv2D:
    """A convolution that starts at zero, so that training starts from the output of the UNet alone."""
    zeros = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))
    return Conv2D(in_channels, out_channels, kernel_size, padding=kernel_size // 2, weight_attr=zeros, bias_attr=zeros)


class ControlNetConditioningEmbedding(nn.Layer):
    """Encode control images to features of the size of the latents.

    Args:
        conditioning_embedding_channels: channels of the features.
        conditioning_channels: channels of the images.
        block_out_channels: channels of each level; each level but the last one halves height and width.
    """

    def __init__(
        self,
        conditioning_embedding_channels: int,
        conditioning_channels: int = 3,
        block_out_channels: Sequence[int] = (16, 32, 96, 256),
    ):
        super().__init__()
        self.conv_in = Conv2D(conditioning_channels, block_out_channels[0], 3, padding=1)
        self.blocks = nn.LayerList()
        for channels, next_channels in zip(block_out_channels, block_out_channels[1:]):
            self.blocks.append(Conv2D(channels, channels, 3, padding=1))
            self.blocks.append(Conv2D(channels, next_channels, 3, stride=2, padding=1))
        self.conv_out = zero_conv(block_out_channels[-1], conditioning_embedding_channels, 3)

    def forward(self, conditioning: paddle.Tensor) -> paddle.Tensor:  # [B, C, H, W] -> [B, E, H / 8, W / 8]
        embedding = F.silu(self.conv_in(conditioning))
        for block in self.blocks:
            embedding = F.silu(block(embedding))
        return self.conv_out(embedding)


class ControlNetEncoder(ConditionEmbeddings, ModelMixin):
    """What ControlNets share: the layers that follow from the configuration, residuals, checks.

    Class attributes:
        _supported: supported values of configuration keys.
        _copied_layers: names of the layers that `from_unet` copies.
    """

    _supports_gradient_checkpointing = True
    _supported: ClassVar[Mapping[str, Sequence[Any]]] = {}
    _copied_layers: ClassVar[tuple[str, ...]] = ()

    def _build_encoder(self) -> None:
        """Create the layers."""
        self._check_config()
        config = self.config
        mid_block_type = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
        first, *_, last = config.block_out_channels
        levels = len(config.block_out_channels)
        time_embed_dim = first * 4
        self.conv_in = Conv2D(config.in_channels, first, 3, padding=1)
        self.time_proj = Timesteps(first, config.flip_sin_to_cos, config.freq_shift)
        self.time_embedding = TimestepEmbedding(first, time_embed_dim, act_fn=config.act_fn)
        self.time_embed_act = None
        self._build_condition_embeddings(first, time_embed_dim)
        self.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            first, config.conditioning_channels, config.conditioning_embedding_out_channels
        )

        heads = per_level(config.num_attention_heads or config.attention_head_dim, levels)
        head_dims = per_level(config.attention_head_dim, levels)
        only_cross = per_level(config.only_cross_attention, levels)
        transformer_layers = per_level(config.transformer_layers_per_block, levels)
        settings = [
            BlockSettings(
                temb_channels=time_embed_dim,
                resnet_eps=config.norm_eps,
                resnet_act_fn=config.act_fn,
                resnet_groups=config.norm_num_groups,
                resnet_time_scale_shift=config.resnet_time_scale_shift,
                downsample_padding=config.downsample_padding,
                use_linear_projection=config.use_linear_projection,
                upcast_attention=config.upcast_attention,
                cross_attention_dim=config.cross_attention_dim,
                attention_head_dim=head_dims[level],
                num_attention_heads=heads[level],
                transformer_layers=transformer_layers[level],
                only_cross_attention=only_cross[level],
            )
            for level in range(levels)
        ]
        self.down_blocks = nn.LayerList()
        self.controlnet_down_blocks = nn.LayerList([zero_conv(first, first)])
        widths = [first, *config.block_out_channels]
        for level, block_type in enumerate(config.down_block_types):
            width, downsample = widths[level + 1], level != levels - 1
            self.down_blocks.append(
                get_down_block(
                    block_type,
                    settings[level],
                    num_layers=config.layers_per_block,
                    in_channels=widths[level],
                    out_channels=width,
                    add_downsample=downsample,
                )
            )
            count = config.layers_per_block + downsample
            self.controlnet_down_blocks.extend([zero_conv(width, width) for _ in range(count)])
        self.mid_block = get_mid_block(
            mid_block_type,
            replace(settings[-1], resnet_out_scale_factor=config.mid_block_scale_factor, only_cross_attention=False),
            channels=last,
            num_layers=0 if mid_block_type == "UNetMidBlock2D" else 1,
            add_attention=False,
        )
        self.controlnet_mid_block = zero_conv(last, last)
        self._has_cross_attention = mid_block_type == "UNetMidBlock2DCrossAttn" or any(
            map(has_cross_attention, config.down_block_types)
        )

    def _check_config(self) -> None:
        config = self.config
        problems = check_block_types(config.down_block_types, ())
        problems += wrong_lengths(len(config.block_out_channels), **{key: config[key] for key in _PER_LEVEL})
        problems += [
            f"{key} = {config[key]!r} (supported: {', '.join(map(repr, values))})"
            for key, values in self._supported.items()
            if config[key] not in values
        ]
        problems += self._missing_settings()
        problems += [
            f"{key} = {config[key]!r} must be one number for all levels"
            for key in ("layers_per_block", "cross_attention_dim")
            if not isinstance(config[key], int)
        ]
        if problems:
            name = type(self).__name__
            raise ConfigError(f"This {name} cannot be built.", problems=problems, expected=known_block_types())

    @classmethod
    def _of_unet(cls: type[Network], unet: UNet2DConditionModel, load_weights: bool, **own: Any) -> Network:
        """A network with the configuration, and optionally the weights, of a UNet; `own` settings are different."""
        copied = [key for key in cls.init_parameters() if key not in own and key in unet.config]
        network = cls(**{key: unet.config[key] for key in copied}, **own)
        if load_weights:
            for name in cls._copied_layers:
                layer = getattr(network, name)
                if layer is not None:
                    layer.set_state_dict(getattr(unet, name).state_dict())
        return network

    def _residuals(
        self,
        sample: paddle.Tensor,
        emb: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor,
        attention_mask: paddle.Tensor | None,
        cross_attention_kwargs: dict[str, Any] | None,
    ) -> list[paddle.Tensor]:
        """Residuals of all levels, that of the middle block last; `sample` is [B, first, h, w]."""
        inputs = {
            "encoder_hidden_states": encoder_hidden_states,
            "attention_mask": mask_to_bias(attention_mask, sample.dtype),
            "cross_attention_kwargs": dict(cross_attention_kwargs or {}),
        }
        stages = (sample,)
        for block in self.down_blocks:
            sample, more = block(hidden_states=sample, temb=emb, **inputs)
            stages += more
        stages += (self.mid_block(hidden_states=sample, temb=emb, **inputs),)
        convs = (*self.controlnet_down_blocks, self.controlnet_mid_block)
        return [conv(stage) for conv, stage in zip(convs, stages, strict=True)]

    def _scaled(
        self, residuals: list[paddle.Tensor], scale: float | paddle.Tensor, guess_mode: bool
    ) -> list[paddle.Tensor]:
        """Scale the residuals, in guess mode from 0.1 (first) to 1 (last); pool them if the network does."""
        if guess_mode and not self.config.global_pool_conditions:
            factors = [10 ** (n / (len(residuals) - 1) - 1) for n in range(len(residuals))]  # 0.1 to 1
            residuals = [residual * factor for residual, factor in zip(residuals, factors, strict=True)]
        if isinstance(scale, paddle.Tensor):
            scale = scale.astype(residuals[0].dtype)
        residuals = [residual * scale for residual in residuals]
        if self.config.global_pool_conditions:
            residuals = [residual.mean([2, 3], keepdim=True) for residual in residuals]  # [B, C, 1, 1]
        return residuals

    def _check_inputs(
        self,
        sample: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None,
        images: Mapping[str, paddle.Tensor],
        class_labels: paddle.Tensor | None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None,
        problems: Sequence[str] = (),
    ) -> None:
        """Raise InputError for inputs that are missing or do not fit; `images` by the names for messages."""
        check_channels(sample, self.config.in_channels, type(self).__name__)
        batch, _, height, width = sample.shape
        factor = self.conditioning_scale_factor
        expected = [batch, self.config.conditioning_channels, height * factor, width * factor]
        problems = [*problems, *self._missing_conditions(class_labels, added_cond_kwargs)]
        if encoder_hidden_states is None and self._has_cross_attention:
            problems.append("encoder_hidden_states is None, but the network has cross-attention")
        problems += [
            f"{name} is of shape {list(image.shape)}, expected {expected}"
            for name, image in images.items()
            if list(image.shape) != expected
        ]
        if problems:
            raise InputError(f"The inputs do not fit this {type(self).__name__}.", problems=problems)

    @property
    def conditioning_scale_factor(self) -> int:
        """Height and width of control images, relative to those of the latents."""
        return 2 ** (len(self.config.conditioning_embedding_out_channels) - 1)

    # -- verification -------------------------------------------------------------------------------------------

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        config = self.config
        size = small_size(8, len(config.block_out_channels))
        pixels = size * self.conditioning_scale_factor
        return {
            "sample": normal(rng, BATCH, config.in_channels, size, size),  # [B, C, h, w]
            "timestep": 321,
            "encoder_hidden_states": prompt_embeddings(config.cross_attention_dim, rng),
            "controlnet_cond": normal(rng, BATCH, config.conditioning_channels, pixels, pixels),
            **self._dummy_conditions(rng),
        }

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        down, middle = network(**inputs, return_dict=False)
        return {**{f"down_{n}": residual for n, residual in enumerate(down)}, "mid": middle}
