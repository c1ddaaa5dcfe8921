"""ControlNet (Zhang et al., "Adding Conditional Control to Text-to-Image Diffusion Models", arXiv 2302.05543)."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.models.controlnets.encoder import ControlNetConditioningEmbedding, ControlNetEncoder
from ppdiffusers.models.modeling_outputs import ControlNetOutput
from ppdiffusers.models.single_file import FromOriginalModelMixin
from ppdiffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from ppdiffusers.utils.dtypes import computable

__all__ = ["ControlNetConditioningEmbedding", "ControlNetModel"]


class ControlNetModel(ControlNetEncoder, FromOriginalModelMixin):
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

    _supported = {
        "addition_embed_type": (None, "text", "text_time"),
        "encoder_hid_dim_type": (None, "text_proj"),
        "class_embed_type": (None, "timestep", "identity", "projection"),
        "controlnet_conditioning_channel_order": ("rgb", "bgr"),
        "mid_block_type": ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D"),
    }
    _copied_layers = ("conv_in", "time_embedding", "class_embedding", "add_embedding", "down_blocks", "mid_block")

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
        if encoder_hid_dim is not None and encoder_hid_dim_type is None:
            self.register_to_config(encoder_hid_dim_type="text_proj")
        self._build_encoder()
        self.encoder_hid_proj = None if encoder_hid_dim is None else nn.Linear(encoder_hid_dim, cross_attention_dim)

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
        return cls._of_unet(
            unet,
            load_weights_from_unet,
            controlnet_conditioning_channel_order=controlnet_conditioning_channel_order,
            conditioning_embedding_out_channels=conditioning_embedding_out_channels,
            conditioning_channels=conditioning_channels,
            global_pool_conditions=False,
        )

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
        images = {"controlnet_cond": controlnet_cond}
        self._check_inputs(sample, encoder_hidden_states, images, class_labels, added_cond_kwargs)
        sample, encoder_hidden_states = computable(sample), computable(encoder_hidden_states)
        controlnet_cond, added_cond_kwargs = computable(controlnet_cond), computable(added_cond_kwargs)
        emb = self._embed(sample, timestep, encoder_hidden_states, class_labels, timestep_cond, added_cond_kwargs)
        if self.config.controlnet_conditioning_channel_order == "bgr":
            controlnet_cond = paddle.flip(controlnet_cond, axis=[1])
        sample = self.conv_in(sample) + self.controlnet_cond_embedding(controlnet_cond)  # [B, first, h, w]
        residuals = self._residuals(sample, emb, encoder_hidden_states, attention_mask, cross_attention_kwargs)
        *down, middle = self._scaled(residuals, conditioning_scale, guess_mode)
        return ControlNetOutput(tuple(down), middle) if return_dict else (tuple(down), middle)
