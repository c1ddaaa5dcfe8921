"""ControlNet (Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.attention.masks import mask_to_bias
from ppdiffusers.models.blocks.attention_inputs import AttentionInputs
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
from ppdiffusers.models.modeling_outputs import ControlNetOutput
from ppdiffusers.models.modeling_utils import ModelMixin, per_level, wrong_lengths
from ppdiffusers.models.single_file import FromOriginalModelMixin
from ppdiffusers.models.unets.condition_embeddings import ConditionEmbeddings
from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal, prompt_embeddings, small_size

# Supported values of configuration keys.
_SUPPORTED = {
    "addition_embed_type": (None, "text", "text_time"),
    "encoder_hid_dim_type": (None, "text_proj"),
    "class_embed_type": (None, "timestep", "identity", "projection"),
    "controlnet_conditioning_channel_order": ("rgb", "bgr"),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D"),
}
_PER_LEVEL = (
    *("down_block_types", "only_cross_attention", "transformer_layers_per_block"),
    *("attention_head_dim", "num_attention_heads"),
)
# Keys that `from_unet` does not copy, because the ControlNet has different ones.
_OWN_KEYS = (
    *("conditioning_channels", "conditioning_embedding_out_channels", "controlnet_conditioning_channel_order"),
    "global_pool_conditions",
)


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


class ControlNetModel(ConditionEmbeddings, ModelMixin, FromOriginalModelMixin):
    """Compute residuals for a UNet from control images; configuration and state dict are those of diffusers' class.

    It is the encoder of the UNet, with one convolution that starts at zero for each residual.

    Args:
        conditioning_channels: channels of the control images.
        attention_head_dim: despite its name the *number* of heads, unless `num_attention_heads` is given.
        only_cross_attention, transformer_layers_per_block, attention_head_dim, num_attention_heads: for all levels, or
            a list with one entry per level.
        encoder_hid_dim: creates `encoder_hid_proj`, which checkpoints may have; as in diffusers, it is not applied.
        controlnet_conditioning_channel_order: "rgb", or "bgr" for networks trained with images of OpenCV.
        conditioning_embedding_out_channels: channels of each level of the embedding of control images.
        global_pool_conditions: whether the residuals are averaged over height and width (Shuffle).
    """

    single_file_component = "controlnet"

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        conditioning_channels: int = 3,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        down_block_types: tuple[str, ...] = (
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "DownBlock2D",
        ),
        mid_block_type: str | None = "UNetMidBlock2DCrossAttn",
        only_cross_attention: bool | tuple[bool, ...] = False,
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        downsample_padding: int = 1,
        mid_block_scale_factor: float = 1,
        act_fn: str = "silu",
        norm_num_groups: int | None = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 1280,
        transformer_layers_per_block: int | tuple[int, ...] = 1,
        encoder_hid_dim: int | None = None,
        encoder_hid_dim_type: str | None = None,
        attention_head_dim: int | tuple[int, ...] = 8,
        num_attention_heads: int | tuple[int, ...] | None = None,
        use_linear_projection: bool = False,
        class_embed_type: str | None = None,
        addition_embed_type: str | None = None,
        addition_time_embed_dim: int | None = None,
        num_class_embeds: int | None = None,
        upcast_attention: bool = False,
        resnet_time_scale_shift: str = "default",
        projection_class_embeddings_input_dim: int | None = None,
        controlnet_conditioning_channel_order: str = "rgb",
        conditioning_embedding_out_channels: tuple[int, ...] | None = (16, 32, 96, 256),
        global_pool_conditions: bool = False,
        addition_embed_type_num_heads: int = 64,
    ):
        super().__init__()
        self._check_config()
        levels, first, last = len(block_out_channels), block_out_channels[0], block_out_channels[-1]
        time_embed_dim = first * 4
        if encoder_hid_dim is not None and encoder_hid_dim_type is None:
            self.register_to_config(encoder_hid_dim_type="text_proj")

        self.conv_in = Conv2D(in_channels, first, 3, padding=1)
        self.time_proj = Timesteps(first, flip_sin_to_cos, freq_shift)
        self.time_embedding = TimestepEmbedding(first, time_embed_dim, act_fn=act_fn)
        self.time_embed_act = None
        self.encoder_hid_proj = None if encoder_hid_dim is None else nn.Linear(encoder_hid_dim, cross_attention_dim)
        self._build_condition_embeddings(first, time_embed_dim)
        self.controlnet_cond_embedding = ControlNetConditioningEmbedding(
            first, conditioning_channels, conditioning_embedding_out_channels
        )

        heads = per_level(num_attention_heads or attention_head_dim, levels)
        head_dims = per_level(attention_head_dim, levels)
        only_cross = per_level(only_cross_attention, levels)
        transformer_layers = per_level(transformer_layers_per_block, levels)
        settings = [
            BlockSettings(
                temb_channels=time_embed_dim,
                resnet_eps=norm_eps,
                resnet_act_fn=act_fn,
                resnet_groups=norm_num_groups,
                resnet_time_scale_shift=resnet_time_scale_shift,
                downsample_padding=downsample_padding,
                use_linear_projection=use_linear_projection,
                upcast_attention=upcast_attention,
                cross_attention_dim=cross_attention_dim,
                attention_head_dim=head_dims[level],
                num_attention_heads=heads[level],
                transformer_layers=transformer_layers[level],
                only_cross_attention=only_cross[level],
            )
            for level in range(levels)
        ]
        self.down_blocks = nn.LayerList()
        self.controlnet_down_blocks = nn.LayerList([zero_conv(first, first)])
        widths = [first, *block_out_channels]
        for level, block_type in enumerate(down_block_types):
            width, downsample = widths[level + 1], level != levels - 1
            self.down_blocks.append(
                get_down_block(
                    block_type,
                    settings[level],
                    num_layers=layers_per_block,
                    in_channels=widths[level],
                    out_channels=width,
                    add_downsample=downsample,
                )
            )
            self.controlnet_down_blocks.extend([zero_conv(width, width) for _ in range(layers_per_block + downsample)])
        self.mid_block = get_mid_block(
            mid_block_type,
            replace(settings[-1], resnet_out_scale_factor=mid_block_scale_factor, only_cross_attention=False),
            channels=last,
            num_layers=0 if mid_block_type == "UNetMidBlock2D" else 1,
            add_attention=False,
        )
        self.controlnet_mid_block = zero_conv(last, last)
        self._has_cross_attention = mid_block_type == "UNetMidBlock2DCrossAttn" or any(
            map(has_cross_attention, down_block_types)
        )

    def _check_config(self) -> None:
        config = self.config
        problems = check_block_types(config.down_block_types, ())
        problems += wrong_lengths(len(config.block_out_channels), **{key: config[key] for key in _PER_LEVEL})
        problems += [
            f"{key} = {config[key]!r} (supported: {', '.join(map(repr, values))})"
            for key, values in _SUPPORTED.items()
            if config[key] not in values
        ]
        problems += self._missing_settings()
        problems += [
            f"{key} = {config[key]!r} must be one number for all levels"
            for key in ("layers_per_block", "cross_attention_dim")
            if not isinstance(config[key], int)
        ]
        if problems:
            raise ConfigError("This ControlNetModel cannot be built.", problems=problems, expected=known_block_types())

    @classmethod
    def from_unet(
        cls,
        unet: UNet2DConditionModel,
        controlnet_conditioning_channel_order: str = "rgb",
        conditioning_embedding_out_channels: tuple[int, ...] | None = (16, 32, 96, 256),
        load_weights_from_unet: bool = True,
        conditioning_channels: int = 3,
    ) -> ControlNetModel:
        """Create a ControlNet for a UNet, to train it: the encoder is a copy of the UNet's, its residuals are zero.

        Args:
            load_weights_from_unet: whether to copy the weights, in addition to the configuration.

        Raises:
            ConfigError: a ControlNet cannot have the configuration of this UNet.
        """
        copied = [key for key in cls.init_parameters() if key not in _OWN_KEYS]
        network = cls(
            **{key: unet.config[key] for key in copied},
            controlnet_conditioning_channel_order=controlnet_conditioning_channel_order,
            conditioning_embedding_out_channels=conditioning_embedding_out_channels,
            conditioning_channels=conditioning_channels,
        )
        if load_weights_from_unet:
            for name in ("conv_in", "time_embedding", "class_embedding", "add_embedding", "down_blocks", "mid_block"):
                layer = getattr(network, name)
                if layer is not None:
                    layer.set_state_dict(getattr(unet, name).state_dict())
        return network

    # -- running ------------------------------------------------------------------------------------------------

    def forward(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor | float | int,
        encoder_hidden_states: paddle.Tensor,
        controlnet_cond: paddle.Tensor,
        conditioning_scale: float | paddle.Tensor = 1.0,
        class_labels: paddle.Tensor | None = None,
        timestep_cond: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guess_mode: bool = False,
        return_dict: bool = True,
    ) -> ControlNetOutput | tuple[tuple[paddle.Tensor, ...], paddle.Tensor]:
        """Compute the residuals for `sample` [B, in_channels, h, w] at `timestep` (a number, or [B]) and a prompt.

        Args:
            encoder_hidden_states: [B, S, D], the embeddings of the prompt.
            controlnet_cond: control images [B, conditioning_channels, 8 h, 8 w], usually in [0, 1].
            conditioning_scale: factor of the residuals.
            class_labels: [B], or embeddings, for networks with a class embedding.
            timestep_cond: [B, time_cond_proj_dim]; accepted for the signature of diffusers.
            attention_mask: [B, h * w] of 1 (keep) and 0 (discard), or a bias [B, 1, h * w].
            added_cond_kwargs: "text_embeds" and "time_ids" for `addition_embed_type="text_time"`.
            cross_attention_kwargs: keyword arguments of the attention processors.
            guess_mode: scale the residuals from 0.1 (first) to 1 (last), for calls without a prompt.

        Raises:
            InputError: an input is missing or does not fit the network.
        """
        self._check_inputs(sample, encoder_hidden_states, controlnet_cond, class_labels, added_cond_kwargs)
        emb = self._embed(sample, timestep, encoder_hidden_states, class_labels, timestep_cond, added_cond_kwargs)
        inputs = AttentionInputs(
            encoder_hidden_states,
            attention_mask=mask_to_bias(attention_mask, sample.dtype),
            cross_attention_kwargs=dict(cross_attention_kwargs or {}),
        )
        if self.config.controlnet_conditioning_channel_order == "bgr":
            controlnet_cond = paddle.flip(controlnet_cond, axis=[1])
        sample = self.conv_in(sample) + self.controlnet_cond_embedding(controlnet_cond)  # [B, first, h, w]
        stages = (sample,)
        for block in self.down_blocks:
            sample, more = block(sample, emb, inputs)
            stages += more
        stages += (self.mid_block(sample, emb, inputs),)
        convs = (*self.controlnet_down_blocks, self.controlnet_mid_block)
        residuals = [conv(stage) for conv, stage in zip(convs, stages, strict=True)]

        if guess_mode and not self.config.global_pool_conditions:
            factors = [10 ** (n / (len(residuals) - 1) - 1) for n in range(len(residuals))]  # 0.1 to 1
            residuals = [residual * factor for residual, factor in zip(residuals, factors, strict=True)]
        if isinstance(conditioning_scale, paddle.Tensor):
            conditioning_scale = conditioning_scale.astype(sample.dtype)
        residuals = [residual * conditioning_scale for residual in residuals]
        if self.config.global_pool_conditions:
            residuals = [residual.mean([2, 3], keepdim=True) for residual in residuals]  # [B, C, 1, 1]
        *down, middle = residuals
        return ControlNetOutput(tuple(down), middle) if return_dict else (tuple(down), middle)

    def _check_inputs(
        self,
        sample: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None,
        controlnet_cond: paddle.Tensor,
        class_labels: paddle.Tensor | None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None,
    ) -> None:
        check_channels(sample, self.config.in_channels, type(self).__name__)
        batch, _, height, width = sample.shape
        factor = self.conditioning_scale_factor
        expected = [batch, self.config.conditioning_channels, height * factor, width * factor]
        problems = self._missing_conditions(class_labels, added_cond_kwargs)
        if encoder_hidden_states is None and self._has_cross_attention:
            problems.append("encoder_hidden_states is None, but the network has cross-attention")
        if list(controlnet_cond.shape) != expected:
            problems.append(f"controlnet_cond is of shape {list(controlnet_cond.shape)}, expected {expected}")
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
