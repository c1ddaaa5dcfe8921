"""The text encoder of GLIDE, a transformer without causal mask (Nichol et al. 2021, arXiv 2112.10741, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.runtime.kernels.attention import scaled_dot_product_attention
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs


@dataclass
class GlideTextModelOutput(BaseOutput):
    """`last_hidden_state`: [B, L, width]; `time_embeds`: [B, time_embed_dim], added to the UNet's time embedding."""

    last_hidden_state: paddle.Tensor
    time_embeds: paddle.Tensor


class GlideTextModel(ModelMixin):
    """Encode tokens for the UNet: a state for each token, and the last state projected for the time embedding.

    The base model and the upsampler have a text encoder each. The parameters have the names of the original.

    Args:
        vocab_size: number of tokens.
        text_ctx: L, the number of tokens of every text, padding included.
        width: channels of the states.
        num_layers, num_attention_heads: of the transformer.
        time_embed_dim: channels of the UNet's time embedding.
        use_final_norm: whether a LayerNorm follows the last layer.
        use_padding_embedding: whether padding has learned embeddings, in place of those of the padding token.

    Raises:
        ConfigError: the width is not a multiple of the number of heads.
    """

    key_mappings = ()

    @register_to_config
    def __init__(
        self,
        vocab_size: int = 50257,
        text_ctx: int = 128,
        width: int = 512,
        num_layers: int = 16,
        num_attention_heads: int = 8,
        time_embed_dim: int = 768,
        use_final_norm: bool = True,
        use_padding_embedding: bool = True,
    ):
        super().__init__()
        if width % num_attention_heads:
            raise ConfigError(
                f"width={width} is not a multiple of num_attention_heads={num_attention_heads}.",
                expected="heads of equal width",
            )
        normal_values = nn.initializer.Normal(std=0.01)
        self.token_embedding = nn.Embedding(vocab_size, width)
        self.positional_embedding = self.create_parameter([text_ctx, width], default_initializer=normal_values)
        self.padding_embedding = (
            self.create_parameter([text_ctx, width], default_initializer=normal_values)
            if use_padding_embedding
            else None
        )
        self.transformer = _Transformer(width, num_layers, num_attention_heads)
        self.final_ln = nn.LayerNorm(width) if use_final_norm else None
        self.transformer_proj = nn.Linear(width, time_embed_dim)

    def forward(
        self, input_ids: paddle.Tensor, attention_mask: paddle.Tensor, return_dict: bool = True
    ) -> GlideTextModelOutput | tuple[paddle.Tensor, paddle.Tensor]:
        """Encode texts.

        Args:
            input_ids: [B, L].
            attention_mask: [B, L], 1 for tokens and 0 for padding. Tokens do attend to padding.
            return_dict: return a `GlideTextModelOutput`, otherwise a tuple.

        Raises:
            InputError: the length of the texts is not L.
        """
        if input_ids.shape[1] != self.config.text_ctx:
            raise InputError(
                f"input_ids has shape {list(input_ids.shape)}.",
                expected=f"{self.config.text_ctx} tokens a text, padding included",
            )
        x = self.token_embedding(input_ids) + self.positional_embedding  # [B, L, width]
        if self.padding_embedding is not None:
            x = paddle.where(attention_mask.astype("bool").unsqueeze(-1), x, self.padding_embedding)
        x = self.transformer(x)
        if self.final_ln is not None:
            x = self.final_ln(x)
        time = self.transformer_proj(x[:, -1])  # [B, time_embed_dim]
        return GlideTextModelOutput(x, time) if return_dict else (x, time)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        length = self.config.text_ctx
        lengths = rng.integers(1, length, [BATCH, 1])
        return {
            "input_ids": rng.integers(0, self.config.vocab_size, [BATCH, length]),
            "attention_mask": (np.arange(length) < lengths).astype(np.int64),
        }

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        states, time = network(**inputs, return_dict=False)
        return {"last_hidden_state": states, "time_embeds": time}


class _Transformer(nn.Layer):
    def __init__(self, width: int, num_layers: int, heads: int):
        super().__init__()
        self.resblocks = nn.LayerList([_Block(width, heads) for _ in range(num_layers)])

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, L, C] -> [B, L, C]
        for block in self.resblocks:
            x = block(x)
        return x


class _Block(nn.Layer):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _Attention(width, heads)
        self.mlp = _MLP(width)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, L, C] -> [B, L, C]
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class _Attention(nn.Layer):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.c_qkv = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, L, C] -> [B, L, C]
        batch, length, width = x.shape
        # the channels are ordered by head, then by query, key and value
        qkv = self.c_qkv(x).reshape([batch, length, self.heads, 3 * self.head_dim]).transpose([0, 2, 1, 3])
        query, key, value = qkv.chunk(3, axis=-1)  # [B, H, L, D]
        attended = scaled_dot_product_attention(query, key, value).transpose([0, 2, 1, 3])  # [B, L, H, D]
        return self.c_proj(attended.reshape([batch, length, width]))


class _MLP(nn.Layer):
    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, L, C] -> [B, L, C]
        return self.c_proj(F.gelu(self.c_fc(x)))
