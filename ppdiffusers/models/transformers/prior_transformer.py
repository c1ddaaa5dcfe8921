"""The prior of unCLIP: from a prompt's CLIP embedding to an image's (Ramesh et al. 2022, arXiv 2204.06125, 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.models.attention.masks import mask_to_bias
from ppdiffusers.models.blocks.embeddings import TimestepEmbedding, Timesteps, as_timesteps
from ppdiffusers.models.blocks.transformer import BasicTransformerBlock
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal

_MASKED = -10000.0  # as in the original: with few keys, masked ones keep a probability that is not exactly 0


@dataclass
class PriorTransformerOutput(BaseOutput):
    """`predicted_image_embedding`: [B, clip_embed_dim], or [B, tokens, clip_embed_dim] without `prd_embedding`."""

    predicted_image_embedding: paddle.Tensor


class PriorTransformer(ModelMixin):
    """A causal transformer that predicts the image embedding from these tokens, in this order:

    the prompt's hidden states, its embedding, the timestep, the noisy image embedding, and a learned token whose output
    is the prediction.

    Args:
        num_embeddings: number of hidden states of the prompt.
        additional_embeddings: number of tokens that follow them.
        norm_in_type: "layer" for a LayerNorm of the tokens; None for no norm.
        embedding_proj_norm_type: "layer" for a LayerNorm of the prompt's embedding; None for no norm.
        encoder_hid_proj_type: "linear" projects the prompt's hidden states; None if there are none.
        added_emb_type: "prd" adds the learned token; with None the outputs of the noisy tokens are the prediction.
        time_embed_dim: channels between the layers of the timestep's embedding; by default those of the tokens.
        embedding_proj_dim: channels of the prompt's embedding; by default `embedding_dim`.
        clip_embed_dim: channels of the prediction; by default `embedding_dim`.
    """

    @register_to_config
    def __init__(
        self,
        num_attention_heads: int = 32,
        attention_head_dim: int = 64,
        num_layers: int = 20,
        embedding_dim: int = 768,
        num_embeddings: int = 77,
        additional_embeddings: int = 4,
        dropout: float = 0.0,
        time_embed_act_fn: str = "silu",
        norm_in_type: str | None = None,
        embedding_proj_norm_type: str | None = None,
        encoder_hid_proj_type: str | None = "linear",
        added_emb_type: str | None = "prd",
        time_embed_dim: int | None = None,
        embedding_proj_dim: int | None = None,
        clip_embed_dim: int | None = None,
    ):
        super().__init__()
        _check_types(self.config)
        width = num_attention_heads * attention_head_dim
        embedding_proj_dim = embedding_proj_dim or embedding_dim
        clip_embed_dim = clip_embed_dim or embedding_dim
        zeros = nn.initializer.Constant()

        self.time_proj = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(width, time_embed_dim or width, out_dim=width, act_fn=time_embed_act_fn)
        self.proj_in = nn.Linear(embedding_dim, width)
        self.embedding_proj_norm = nn.LayerNorm(embedding_proj_dim) if embedding_proj_norm_type else None
        self.embedding_proj = nn.Linear(embedding_proj_dim, width)
        self.encoder_hidden_states_proj = nn.Linear(embedding_dim, width) if encoder_hid_proj_type else None
        self.positional_embedding = self.create_parameter(
            [1, num_embeddings + additional_embeddings, width], default_initializer=zeros
        )
        self.prd_embedding = self.create_parameter([1, 1, width], default_initializer=zeros) if added_emb_type else None
        self.transformer_blocks = nn.LayerList(
            [
                BasicTransformerBlock(
                    width,
                    num_attention_heads,
                    attention_head_dim,
                    dropout=dropout,
                    activation_fn="gelu",
                    attention_bias=True,
                )
                for _ in range(num_layers)
            ]
        )
        self.norm_in = nn.LayerNorm(width) if norm_in_type else None
        self.norm_out = nn.LayerNorm(width)
        self.proj_to_clip_embeddings = nn.Linear(width, clip_embed_dim)
        self.clip_mean = self.create_parameter([1, clip_embed_dim], default_initializer=zeros)
        self.clip_std = self.create_parameter([1, clip_embed_dim], default_initializer=zeros)

    def forward(
        self,
        hidden_states: paddle.Tensor,
        timestep: paddle.Tensor | float | int,
        proj_embedding: paddle.Tensor,
        encoder_hidden_states: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        return_dict: bool = True,
    ) -> PriorTransformerOutput | tuple[paddle.Tensor]:
        """Predict the image embedding.

        Args:
            hidden_states: noisy image embeddings [B, embedding_dim], or [B, tokens, embedding_dim].
            timestep: a number, or [B].
            proj_embedding: the prompt's embedding [B, embedding_proj_dim], or [B, tokens, embedding_proj_dim].
            encoder_hidden_states: the prompt's hidden states [B, num_embeddings, embedding_dim].
            attention_mask: [B, num_embeddings], 1 for the prompt's tokens and 0 for padding; causal attention comes
                with it, as in the original.

        Raises:
            InputError: the network projects the prompt's hidden states, and there are none.
        """
        if self.encoder_hidden_states_proj is not None and encoder_hidden_states is None:
            raise InputError("encoder_hidden_states is None, but the prior projects the prompt's hidden states.")
        hidden_states, proj_embedding = computable(hidden_states), computable(proj_embedding)
        encoder_hidden_states, attention_mask = computable(encoder_hidden_states), computable(attention_mask)
        timesteps = as_timesteps(timestep, hidden_states.shape[0])
        time = self.time_embedding(self.time_proj(timesteps).astype(hidden_states.dtype))  # [B, width]
        if self.embedding_proj_norm is not None:
            proj_embedding = self.embedding_proj_norm(proj_embedding)
        before = [_as_tokens(self.embedding_proj(proj_embedding)), _as_tokens(time)]
        if encoder_hidden_states is not None:
            if self.encoder_hidden_states_proj is not None:
                encoder_hidden_states = self.encoder_hidden_states_proj(encoder_hidden_states)
            before.insert(0, encoder_hidden_states)
        tokens = [*before, _as_tokens(self.proj_in(hidden_states))]
        if self.prd_embedding is not None:
            tokens.append(self.prd_embedding.expand([hidden_states.shape[0], -1, -1]))
        skipped = sum(part.shape[1] for part in before)  # tokens before the noisy ones

        x = self._add_positions(paddle.concat(tokens, axis=1), skipped)  # [B, N, width]
        bias = None if attention_mask is None else self._causal_bias(attention_mask, x)
        if self.norm_in is not None:
            x = self.norm_in(x)
        for block in self.transformer_blocks:
            x = block(x, attention_mask=bias)
        x = self.norm_out(x)
        x = x[:, skipped:] if self.prd_embedding is None else x[:, -1]
        predicted = self.proj_to_clip_embeddings(x)
        return PriorTransformerOutput(predicted) if return_dict else (predicted,)

    def _add_positions(self, x: paddle.Tensor, skipped: int) -> paddle.Tensor:
        """Add the positional embeddings to tokens [B, N, width]; they may exist for the noisy tokens only."""
        positions = self.positional_embedding
        if positions.shape[1] < x.shape[1]:
            after = 0 if self.prd_embedding is None else self.prd_embedding.shape[1]
            positions = F.pad(positions, [skipped, after], data_format="NLC")
        return x + positions.astype(x.dtype)

    def _causal_bias(self, mask: paddle.Tensor, x: paddle.Tensor) -> paddle.Tensor:  # [B, N, N]
        """Bias of a padding mask [B, S] over all tokens, and of causal attention."""
        tokens, added = x.shape[1], self.config.additional_embeddings
        padding = F.pad(mask_to_bias(mask, x.dtype), [0, added], data_format="NCL")  # [B, 1, N]
        positions = paddle.arange(tokens)
        is_future = positions.unsqueeze(0) > positions.unsqueeze(1)  # [N, N]
        return padding + is_future.astype(x.dtype) * _MASKED

    def post_process_latents(self, prior_latents: paddle.Tensor) -> paddle.Tensor:
        """Restore mean and standard deviation of CLIP's embeddings: [B, clip_embed_dim]."""
        return computable(prior_latents) * self.clip_std + self.clip_mean

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        config = self.config
        noisy = () if config.added_emb_type else (config.num_embeddings,)
        inputs = {
            "hidden_states": normal(rng, BATCH, *noisy, config.embedding_dim),
            "timestep": 321,
            "proj_embedding": normal(rng, BATCH, config.embedding_proj_dim or config.embedding_dim),
        }
        if config.encoder_hid_proj_type:
            mask = np.ones((BATCH, config.num_embeddings), dtype=np.int64)
            mask[1, config.num_embeddings // 2 :] = 0
            inputs["encoder_hidden_states"] = normal(rng, BATCH, config.num_embeddings, config.embedding_dim)
            inputs["attention_mask"] = mask
        return inputs


def _as_tokens(x: paddle.Tensor) -> paddle.Tensor:
    """[B, D] -> [B, 1, D]; tokens [B, N, D] are returned unchanged."""
    return x.unsqueeze(1) if x.ndim == 2 else x


def _check_types(config: object) -> None:
    """Raise ConfigError for unknown settings."""
    allowed = {
        "norm_in_type": ("layer", None),
        "embedding_proj_norm_type": ("layer", None),
        "encoder_hid_proj_type": ("linear", None),
        "added_emb_type": ("prd", None),
    }
    problems = [
        f"{name} must be {values[0]!r} or None, not {config[name]!r}"
        for name, values in allowed.items()
        if config[name] not in values
    ]
    if problems:
        raise ConfigError("The configuration of PriorTransformer is invalid.", problems=problems)
