"""ControlNet for several control types in one network: ControlNet++ (xinsir6/ControlNetPlus), on arXiv 2302.05543."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.models.blocks.embeddings import TimestepEmbedding, Timesteps
from ppdiffusers.models.controlnets.encoder import ControlNetEncoder
from ppdiffusers.models.modeling_outputs import ControlNetOutput
from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from ppdiffusers.runtime.kernels.attention import scaled_dot_product_attention
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs


class BatchAttention(nn.Layer):
    """Self-attention of [B, N, D] along the batch, as the published networks are trained.

    The originals give batch-first inputs to a layer that takes the sequence first, so that the images of a batch attend
    to each other, separately for each of the N features.

    Args:
        width: D.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        # queries, keys and values in one matrix, in the layout of PyTorch
        self.in_proj_weight = self.create_parameter([3 * width, width])
        self.in_proj_bias = self.create_parameter([3 * width], is_bias=True)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, N, D] -> [B, N, D]
        batch, count, width = x.shape
        qkv = paddle.matmul(x, self.in_proj_weight, transpose_y=True) + self.in_proj_bias  # [B, N, 3D]
        parts = [
            part.reshape([batch, count, self.heads, width // self.heads]).transpose([1, 2, 0, 3])  # [N, H, B, d]
            for part in qkv.chunk(3, axis=-1)
        ]
        attended = scaled_dot_product_attention(*parts)  # [N, H, B, d]
        return self.out_proj(attended.transpose([2, 0, 1, 3]).reshape([batch, count, width]))


class ResidualAttentionMlp(nn.Layer):
    """Two linear layers with the sigmoid approximation of GELU."""

    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [..., D] -> [..., D]
        hidden = self.c_fc(x)
        return self.c_proj(hidden * F.sigmoid(1.702 * hidden))


class ResidualAttentionBlock(nn.Layer):
    """Attention and MLP with residual connections, normalization first."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attn = BatchAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = ResidualAttentionMlp(width)
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, N, D] -> [B, N, D]
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class ControlNetUnionModel(ControlNetEncoder):
    """Compute residuals for a UNet from control images of several types; the state dict is that of diffusers' class.

    The features of all control images and of the latents are fused by transformer layers before the encoder.

    Args:
        num_control_type: number of control types, 6 or 8 in the published networks.
        num_trans_channel, num_trans_head, num_trans_layer: channels, heads and number of the transformer layers.
        num_proj_channel: channels that they are projected to. Both numbers of channels are `block_out_channels[0]`.
        addition_time_embed_dim: channels of the embedding of each control type.

    The other arguments are those of `ControlNetModel`.
    """

    _supported = {
        "addition_embed_type": (None, "text", "text_time"),
        "encoder_hid_dim_type": (None,),
        "class_embed_type": (None, "timestep", "identity", "projection"),
        "controlnet_conditioning_channel_order": ("rgb",),
    }
    _copied_layers = ("conv_in", "time_embedding", "class_embedding", "down_blocks", "mid_block")

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
        conditioning_embedding_out_channels: tuple[int, ...] | None = (48, 96, 192, 384),
        global_pool_conditions: bool = False,
        addition_embed_type_num_heads: int = 64,
        num_control_type: int = 6,
        num_trans_channel: int = 320,
        num_trans_head: int = 8,
        num_trans_layer: int = 1,
        num_proj_channel: int = 320,
    ):
        super().__init__()
        self._build_encoder()
        normal = nn.initializer.Normal(std=num_trans_channel**0.5)
        self.task_embedding = self.create_parameter([num_control_type, num_trans_channel], default_initializer=normal)
        # the name is that of the published networks
        self.transformer_layes = nn.LayerList(
            [ResidualAttentionBlock(num_trans_channel, num_trans_head) for _ in range(num_trans_layer)]
        )
        zeros = paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))
        self.spatial_ch_projs = nn.Linear(num_trans_channel, num_proj_channel, weight_attr=zeros, bias_attr=zeros)
        self.control_type_proj = Timesteps(addition_time_embed_dim, flip_sin_to_cos, freq_shift)
        self.control_add_embedding = TimestepEmbedding(
            addition_time_embed_dim * num_control_type, block_out_channels[0] * 4
        )

    def _missing_settings(self) -> list[str]:
        config, first = self.config, self.config.block_out_channels[0]
        problems = super()._missing_settings()
        if config.addition_time_embed_dim is None and config.addition_embed_type != "text_time":
            problems.append("addition_time_embed_dim is required but not set")
        return problems + [
            f"{key} is {config[key]}, not block_out_channels[0] = {first}"
            for key in ("num_trans_channel", "num_proj_channel")
            if config[key] != first
        ]

    @classmethod
    def from_unet(
        cls,
        unet: UNet2DConditionModel,
        controlnet_conditioning_channel_order: str = "rgb",
        conditioning_embedding_out_channels: tuple[int, ...] | None = (16, 32, 96, 256),
        load_weights_from_unet: bool = True,
    ) -> ControlNetUnionModel:
        """Create a network for a UNet of 320 channels in the first level, to train it; its residuals are zero.

        Args:
            load_weights_from_unet: whether to copy the weights, in addition to the configuration.

        Raises:
            ConfigError: the network cannot have the configuration of this UNet.
        """
        return cls._of_unet(
            unet,
            load_weights_from_unet,
            controlnet_conditioning_channel_order=controlnet_conditioning_channel_order,
            conditioning_embedding_out_channels=conditioning_embedding_out_channels,
        )

    # -- running ------------------------------------------------------------------------------------------------

    def forward(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor | float | int,
        encoder_hidden_states: paddle.Tensor,
        controlnet_cond: Sequence[paddle.Tensor],
        control_type: paddle.Tensor,
        control_type_idx: Sequence[int],
        conditioning_scale: float | Sequence[float] = 1.0,
        class_labels: paddle.Tensor | None = None,
        timestep_cond: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        from_multi: bool = False,
        guess_mode: bool = False,
        return_dict: bool = True,
    ) -> ControlNetOutput | tuple[tuple[paddle.Tensor, ...], paddle.Tensor]:
        """Compute the residuals for `sample` [B, in_channels, h, w] at `timestep` (a number, or [B]) and a prompt.

        Args:
            controlnet_cond: control images, [B, conditioning_channels, 8 h, 8 w] each.
            control_type: [B, num_control_type] of 1 (used) and 0.
            control_type_idx: number of the control type of each image.
            conditioning_scale: factors, one for each image. That of a single image scales the residuals; those of
                several images scale the features of the images, so that residuals remain if all are 0.
            from_multi: whether to scale the residuals, as for a single image.

        The other arguments are those of `ControlNetModel`.

        Raises:
            InputError: an input is missing or does not fit the network.
        """
        sample, encoder_hidden_states = computable(sample), computable(encoder_hidden_states)
        controlnet_cond, added_cond_kwargs = computable(controlnet_cond), computable(added_cond_kwargs)
        scales = conditioning_scale
        if not isinstance(scales, list | tuple):
            scales = [scales] * len(controlnet_cond)
        self._check_images(
            sample, encoder_hidden_states, controlnet_cond, control_type, control_type_idx, scales, class_labels,
            added_cond_kwargs,
        )  # fmt: skip
        whole = from_multi or len(control_type_idx) == 1
        factors = [1.0] * len(scales) if whole else list(scales)

        emb = self._embed(sample, timestep, encoder_hidden_states, class_labels, timestep_cond, added_cond_kwargs)
        types = self.control_type_proj(control_type.flatten()).reshape([sample.shape[0], -1]).astype(emb.dtype)
        emb = emb + self.control_add_embedding(types)
        sample = self.conv_in(sample)  # [B, first, h, w]
        sample = sample + self._fused(sample, controlnet_cond, control_type_idx, factors)
        residuals = self._residuals(sample, emb, encoder_hidden_states, attention_mask, cross_attention_kwargs)
        *down, middle = self._scaled(residuals, scales[0] if whole else 1.0, guess_mode)
        return ControlNetOutput(tuple(down), middle) if return_dict else (tuple(down), middle)

    def _fused(
        self,
        sample: paddle.Tensor,
        images: Sequence[paddle.Tensor],
        types: Sequence[int],
        factors: Sequence[float | paddle.Tensor],
    ) -> paddle.Tensor:
        """The sum of the features of all images and of what the transformer makes of them, [B, first, h, w]."""
        conditions = [
            self.controlnet_cond_embedding(image) * factor for image, factor in zip(images, factors, strict=True)
        ]  # [B, first, h, w] each
        features = [
            condition.mean([2, 3]) + self.task_embedding[kind] * factor
            for condition, kind, factor in zip(conditions, types, factors, strict=True)
        ]  # [B, first] each
        x = paddle.stack([*features, sample.mean([2, 3])], axis=1)  # [B, images + 1, first]
        for layer in self.transformer_layes:
            x = layer(x)
        fused = paddle.zeros_like(sample)
        for n, (condition, factor) in enumerate(zip(conditions, factors, strict=True)):
            fused = fused + condition + self.spatial_ch_projs(x[:, n])[:, :, None, None] * factor
        return fused

    def _check_images(
        self,
        sample: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None,
        images: Sequence[paddle.Tensor],
        control_type: paddle.Tensor,
        types: Sequence[int],
        scales: Sequence[Any],
        class_labels: paddle.Tensor | None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None,
    ) -> None:
        count, known = len(images), self.config.num_control_type
        lengths = {"control_type_idx": len(types), "conditioning_scale": len(scales)}
        problems = [
            f"{name} has {length} entries for {count} control images"
            for name, length in lengths.items()
            if length != count
        ]
        problems += [
            f"control type {kind} does not exist: there are {known}" for kind in types if not 0 <= kind < known
        ]
        if list(control_type.shape) != [sample.shape[0], known]:
            problems.append(f"control_type is of shape {list(control_type.shape)}, expected {[sample.shape[0], known]}")
        named = {f"controlnet_cond[{n}]": image for n, image in enumerate(images)}
        self._check_inputs(sample, encoder_hidden_states, named, class_labels, added_cond_kwargs, problems)

    # -- verification -------------------------------------------------------------------------------------------

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        known = self.config.num_control_type
        inputs = super().dummy_inputs(rng)
        image = inputs["controlnet_cond"]
        types = np.zeros((BATCH, known), dtype=np.float32)
        types[:, [0, known - 1]] = 1
        return {
            **inputs,
            "controlnet_cond": [image, image[:, :, ::-1].copy()],
            "control_type": types,
            "control_type_idx": [0, known - 1],
            "conditioning_scale": [0.7, 1.2],
        }
