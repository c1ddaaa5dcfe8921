"""LDMBert, the text encoder of Latent Diffusion (arXiv 2112.10752, appendix E.2.1).

It is a transformer without a causal mask over BERT's tokens, with the names and keys of diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.transformers.configuration_utils import PretrainedConfig
from ppdiffusers.transformers.layers import get_activation, mask_to_bias, multi_head_attention
from ppdiffusers.transformers.modeling_utils import PretrainedModel
from ppdiffusers.utils.dtypes import check_computable
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs


class LDMBertConfig(PretrainedConfig):
    """Configuration; the inner width of the attention is `encoder_attention_heads * head_dim`."""

    model_type = "ldmbert"
    defaults = {
        "vocab_size": 30522,
        "max_position_embeddings": 77,
        "encoder_layers": 32,
        "encoder_ffn_dim": 5120,
        "encoder_attention_heads": 8,
        "head_dim": 64,
        "encoder_layerdrop": 0.0,
        "activation_function": "gelu",
        "d_model": 1280,
        "dropout": 0.1,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "init_std": 0.02,
        "classifier_dropout": 0.0,
        "scale_embedding": False,
        "use_cache": True,
        "pad_token_id": 0,
    }


@dataclass
class LDMBertOutput(BaseOutput):
    """`last_hidden_state` [B, S, D]; `hidden_states`: layers + 1 of [B, S, D]; `attentions`: [B, heads, S, S] each."""

    last_hidden_state: paddle.Tensor = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None


class LDMBertAttention(nn.Layer):
    """Self attention with an inner width that may differ from that of the model."""

    def __init__(self, config: LDMBertConfig):
        super().__init__()
        self.num_heads, self.dropout = config.encoder_attention_heads, config.attention_dropout
        inner = self.num_heads * config.head_dim
        self.k_proj = nn.Linear(config.d_model, inner, bias_attr=False)
        self.v_proj = nn.Linear(config.d_model, inner, bias_attr=False)
        self.q_proj = nn.Linear(config.d_model, inner, bias_attr=False)
        self.out_proj = nn.Linear(inner, config.d_model)

    def forward(
        self, x: paddle.Tensor, bias: paddle.Tensor | None, output_attentions: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        dropout = self.dropout if self.training else 0.0
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)  # [B, S, heads * head_dim]
        mixed, weights = multi_head_attention(query, key, value, self.num_heads, bias, dropout, output_attentions)
        return self.out_proj(mixed), weights


class LDMBertEncoderLayer(nn.Layer):
    """Pre-norm attention and feed-forward network with residual connections."""

    def __init__(self, config: LDMBertConfig):
        super().__init__()
        self.self_attn = LDMBertAttention(config)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.activation = get_activation(config.activation_function)
        self.fc1 = nn.Linear(config.d_model, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)
        self.dropout, self.activation_dropout = nn.Dropout(config.dropout), nn.Dropout(config.activation_dropout)

    def forward(
        self, x: paddle.Tensor, bias: paddle.Tensor | None, output_attentions: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        mixed, weights = self.self_attn(self.self_attn_layer_norm(x), bias, output_attentions)
        x = x + self.dropout(mixed)
        inner = self.activation_dropout(self.activation(self.fc1(self.final_layer_norm(x))))
        return x + self.dropout(self.fc2(inner)), weights


class LDMBertEncoder(nn.Layer):
    """Token and position embeddings, transformer layers, final norm."""

    def __init__(self, config: LDMBertConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.embed_positions = nn.Embedding(config.max_position_embeddings, config.d_model)
        self.layers = nn.LayerList([LDMBertEncoderLayer(config) for _ in range(config.encoder_layers)])
        self.layer_norm = nn.LayerNorm(config.d_model)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, input_ids: paddle.Tensor, attention_mask: paddle.Tensor | None, output_attentions: bool = False
    ) -> LDMBertOutput:
        tokens, limit = input_ids.shape[1], self.embed_positions.weight.shape[0]
        if tokens > limit:
            raise InputError(f"The prompt has {tokens} tokens.", expected=f"at most {limit} tokens for this model")
        x = self.dropout(self.embed_tokens(input_ids) + self.embed_positions.weight[:tokens])  # [B, S, D]
        bias = None
        if attention_mask is not None:
            bias = mask_to_bias(attention_mask.astype("bool").unsqueeze(1).unsqueeze(1), x.dtype)  # [B, 1, 1, S]
        states, attentions = [], []
        for layer in self.layers:
            states.append(x)
            x, weights = layer(x, bias, output_attentions)
            attentions.append(weights)
        x = self.layer_norm(x)
        return LDMBertOutput(x, (*states, x), tuple(attentions) if output_attentions else None)


class LDMBertModel(PretrainedModel):
    """The text encoder; `to_logits` was used in training and is kept for its weights."""

    config_class = LDMBertConfig

    def __init__(self, config: LDMBertConfig):
        super().__init__(config)
        self.model = LDMBertEncoder(config)
        self.to_logits = nn.Linear(config.d_model, config.vocab_size)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.model.embed_tokens

    def forward(
        self,
        input_ids: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> LDMBertOutput | tuple:
        """Encode ids [B, S]; `attention_mask` [B, S] is 1 for tokens to attend to (default: all)."""
        if input_ids is None:
            raise InputError("input_ids is None: the text encoder needs token ids [B, S].")
        check_computable(self.to_logits.weight, "LDMBert")
        attentions = self._requests(output_attentions, "output_attentions")
        output = self.model(input_ids.astype("int64"), attention_mask, attentions)
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        shape = (BATCH, self.config.max_position_embeddings)
        return {"input_ids": rng.integers(0, self.config.vocab_size, shape)}  # [B, S]
