"""Transformer over feature maps (Latent Diffusion, arXiv 2112.10752) or codes (VQ-Diffusion, arXiv 2111.14822)."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.models.attention.kwargs import warn_about_scale
from ppdiffusers.models.attention.masks import mask_to_bias
from ppdiffusers.models.blocks.checkpointing import CheckpointedBlock
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.models.blocks.embeddings import ImagePositionalEmbeddings, as_timesteps
from ppdiffusers.models.blocks.transformer import BasicTransformerBlock
from ppdiffusers.models.modeling_outputs import Transformer2DModelOutput
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal, prompt_embeddings

# Supported values of configuration keys.
_SUPPORTED = {
    "patch_size": (None,),
    "norm_type": ("layer_norm", "ada_norm"),
    "norm_elementwise_affine": (True,),
    "norm_eps": (1e-5,),
    "attention_type": ("default",),
    "caption_channels": (None,),
}


class Transformer2DModel(ModelMixin, CheckpointedBlock):
    """Transformer blocks with cross-attention; the configuration is that of diffusers' class.

    Over feature maps (`in_channels`), the blocks are between two projections, and the input is added. Over codes
    (`num_vector_embeds`), embeddings of codes and positions are before the blocks, and log-probabilities follow.

    Args:
        in_channels: channels of the feature map [B, C, H, W], a multiple of `norm_num_groups`.
        sample_size: height and width of the grid of codes.
        num_vector_embeds: number of codes, including the mask, which is the last one.
        num_embeds_ada_norm: number of timesteps, whose embeddings modulate the norms; None for plain norms.
        use_linear_projection: project with linear layers (SD 2.x) instead of 1x1 convolutions (SD 1.x).
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int = 16,
        attention_head_dim: int = 88,
        in_channels: int | None = None,
        out_channels: int | None = None,
        num_layers: int = 1,
        dropout: float = 0.0,
        norm_num_groups: int = 32,
        cross_attention_dim: int | None = None,
        attention_bias: bool = False,
        sample_size: int | None = None,
        num_vector_embeds: int | None = None,
        patch_size: int | None = None,
        activation_fn: str = "geglu",
        num_embeds_ada_norm: int | None = None,
        use_linear_projection: bool = False,
        only_cross_attention: bool = False,
        double_self_attention: bool = False,
        upcast_attention: bool = False,
        norm_type: str = "layer_norm",
        norm_elementwise_affine: bool = True,
        norm_eps: float = 1e-5,
        attention_type: str = "default",
        caption_channels: int | None = None,
        interpolation_scale: float | None = None,
        use_additional_conditions: bool | None = None,
    ):
        super().__init__()
        self._check_config()
        self.inner_dim = num_attention_heads * attention_head_dim
        self.is_input_vectorized = num_vector_embeds is not None
        self.use_linear_projection = use_linear_projection
        if self.is_input_vectorized:
            self.height = self.width = sample_size
            self.num_latent_pixels, self.num_vector_embeds = sample_size * sample_size, num_vector_embeds
            self.latent_image_embedding = ImagePositionalEmbeddings(
                num_vector_embeds, self.height, self.width, self.inner_dim
            )
        else:
            self.norm = nn.GroupNorm(norm_num_groups, in_channels, epsilon=1e-6)
            self.proj_in = self._projection(in_channels, self.inner_dim)
        self.transformer_blocks = nn.LayerList(
            [
                BasicTransformerBlock(
                    self.inner_dim,
                    num_attention_heads,
                    attention_head_dim,
                    dropout=dropout,
                    cross_attention_dim=cross_attention_dim,
                    activation_fn=activation_fn,
                    attention_bias=attention_bias,
                    only_cross_attention=only_cross_attention,
                    double_self_attention=double_self_attention,
                    upcast_attention=upcast_attention,
                    num_embeds_ada_norm=num_embeds_ada_norm,
                )
                for _ in range(num_layers)
            ]
        )
        if self.is_input_vectorized:
            self.norm_out = nn.LayerNorm(self.inner_dim)
            self.out = nn.Linear(self.inner_dim, num_vector_embeds - 1)  # the mask is never predicted
        else:
            self.proj_out = self._projection(self.inner_dim, out_channels or in_channels)

    def _check_config(self) -> None:
        config = self.config
        problems = [
            f"{key} = {config[key]!r} (supported: {', '.join(map(repr, values))})"
            for key, values in _SUPPORTED.items()
            if config[key] not in values
        ]
        if (config.in_channels is None) == (config.num_vector_embeds is None):
            problems.append("one of in_channels (feature maps) and num_vector_embeds (codes) must be set, not both")
        if config.num_vector_embeds is not None and config.sample_size is None:
            problems.append("num_vector_embeds requires sample_size, which is not set")
        if config.norm_type == "ada_norm" and config.num_embeds_ada_norm is None:
            problems.append("norm_type 'ada_norm' requires num_embeds_ada_norm, which is not set")
        if problems:
            raise ConfigError("This Transformer2DModel cannot be built.", problems=problems)

    def _projection(self, channels: int, out_channels: int) -> nn.Layer:
        if self.use_linear_projection:
            return nn.Linear(channels, out_channels)
        return Conv2D(channels, out_channels, 1)

    def forward(
        self,
        hidden_states: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None = None,
        timestep: paddle.Tensor | int | None = None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None = None,
        class_labels: paddle.Tensor | None = None,
        cross_attention_kwargs: dict[str, object] | None = None,
        attention_mask: paddle.Tensor | None = None,
        encoder_attention_mask: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> Transformer2DModelOutput | tuple[paddle.Tensor]:
        """Transform features [B, C, H, W], or predict log p(x_0) [B, num_vector_embeds - 1, N] from codes [B, N].

        Args:
            encoder_hidden_states: [B, S, cross_attention_dim].
            timestep: a number, or [B]; for networks with `num_embeds_ada_norm`.
            added_cond_kwargs: without effect, as in diffusers for these networks.
            class_labels: without effect, as in diffusers for these networks.
            cross_attention_kwargs: keyword arguments of the attention processors.
            attention_mask: [B, N] of 1 (keep) and 0 (discard), or a bias [B, 1 or N, N] that is added to the scores.
            encoder_attention_mask: [B, S] of 1 and 0, or a bias [B, 1 or N, S].

        Raises:
            InputError: the shape does not fit, or the timestep is missing.
        """
        warn_about_scale(cross_attention_kwargs)
        self._check_inputs(hidden_states, timestep)
        hidden_states, encoder_hidden_states = computable(hidden_states), computable(encoder_hidden_states)
        if timestep is not None:
            timestep = as_timesteps(timestep, hidden_states.shape[0])
        embed = self._embed_codes if self.is_input_vectorized else self._embed_pixels
        tokens = embed(hidden_states)  # [B, N, D]
        bias = mask_to_bias(attention_mask, tokens.dtype)
        encoder_bias = mask_to_bias(encoder_attention_mask, tokens.dtype)
        for block in self.transformer_blocks:
            inputs = (tokens, bias, encoder_hidden_states, encoder_bias, timestep, cross_attention_kwargs)
            tokens = self._run(block, *inputs)
        if self.is_input_vectorized:
            output = self._log_probabilities(tokens)
        else:
            output = self._unembed_pixels(tokens, hidden_states)
        return Transformer2DModelOutput(sample=output) if return_dict else (output,)

    def _check_inputs(self, hidden_states: paddle.Tensor, timestep: object) -> None:
        problems = []
        expected = (
            f"[batch, at most {self.num_latent_pixels}]"
            if self.is_input_vectorized
            else "[batch, channels, height, width]"
        )
        fits = hidden_states.ndim == (2 if self.is_input_vectorized else 4)
        if not fits or self.is_input_vectorized and hidden_states.shape[1] > self.num_latent_pixels:
            problems.append(f"hidden_states is {list(hidden_states.shape)}, expected {expected}")
        if self.config.num_embeds_ada_norm is not None and timestep is None:
            problems.append("timestep is None, but the norms depend on it")
        if problems:
            raise InputError("The inputs do not fit this Transformer2DModel.", problems=problems)

    def _embed_pixels(self, features: paddle.Tensor) -> paddle.Tensor:  # [B, C, H, W] -> [B, H*W, D]
        features = self.norm(features)
        if self.use_linear_projection:
            return self.proj_in(features.flatten(2).transpose([0, 2, 1]))
        return self.proj_in(features).flatten(2).transpose([0, 2, 1])

    def _unembed_pixels(self, tokens: paddle.Tensor, features: paddle.Tensor) -> paddle.Tensor:  # [B, C, H, W]
        batch, _, height, width = features.shape
        if self.use_linear_projection:
            tokens = self.proj_out(tokens)
        output = tokens.transpose([0, 2, 1]).reshape([batch, -1, height, width])
        if not self.use_linear_projection:
            output = self.proj_out(output)
        return output + features

    def _embed_codes(self, codes: paddle.Tensor) -> paddle.Tensor:  # [B, N] -> [B, N, D]
        return self.latent_image_embedding(codes)

    def _log_probabilities(self, tokens: paddle.Tensor) -> paddle.Tensor:  # [B, N, D] -> [B, codes - 1, N]
        logits = self.out(self.norm_out(tokens)).transpose([0, 2, 1])
        return F.log_softmax(logits.astype("float64"), axis=1).astype("float32")

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        config = self.config
        if config.num_vector_embeds is None:
            hidden_states = normal(rng, BATCH, config.in_channels, 8, 8)  # [B, C, H, W]
        else:
            hidden_states = rng.integers(0, config.num_vector_embeds, (BATCH, config.sample_size**2))  # [B, N]
        inputs = {"hidden_states": hidden_states}
        if config.cross_attention_dim is not None:
            inputs["encoder_hidden_states"] = prompt_embeddings(config.cross_attention_dim, rng)
        if config.num_embeds_ada_norm is not None:
            inputs["timestep"] = np.asarray(config.num_embeds_ada_norm // 3)
        return inputs
