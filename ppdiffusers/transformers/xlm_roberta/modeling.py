"""XLM-RoBERTa (arXiv 1911.02116), BERT's encoder (arXiv 1810.04805), with the names and keys of transformers."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.transformers.layers import check_heads, get_activation, mask_to_bias, multi_head_attention
from ppdiffusers.transformers.modeling_utils import BaseModelOutputWithPooling, PretrainedModel
from ppdiffusers.transformers.xlm_roberta.configuration import XLMRobertaConfig
from ppdiffusers.utils.dtypes import check_computable
from ppdiffusers.utils.dummy_inputs import DummyInputs, padded_token_ids


class XLMRobertaEmbeddings(nn.Layer):
    """Sum of token, position and token type embeddings, followed by LayerNorm."""

    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        width = config.hidden_size
        self.padding_idx = config.pad_token_id
        self.word_embeddings = nn.Embedding(config.vocab_size, width)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: paddle.Tensor,  # [B, S]
        token_type_ids: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        tokens, limit = input_ids.shape[1], self.position_embeddings.weight.shape[0] - self.padding_idx - 1
        if tokens > limit:
            raise InputError(f"The prompt has {tokens} tokens.", expected=f"at most {limit} tokens for this model")
        if position_ids is None:
            # Positions of tokens start at padding_idx + 1; the position of padding is padding_idx.
            mask = (input_ids != self.padding_idx).astype("int64")  # [B, S]
            position_ids = mask.cumsum(axis=1) * mask + self.padding_idx  # [B, S]
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        summed = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)  # [B, S, D]
        return self.dropout(self.LayerNorm(summed + self.position_embeddings(position_ids)))


class XLMRobertaSelfAttention(nn.Layer):
    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        check_heads(width, self.num_heads)
        self.dropout = config.attention_probs_dropout_prob
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(
        self, x: paddle.Tensor, bias: paddle.Tensor | None, output_attentions: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Return the result [B, S, D], and the attention weights [B, H, S, S] or None."""
        dropout = self.dropout if self.training else 0.0
        query, key, value = self.query(x), self.key(x), self.value(x)  # [B, S, D]
        return multi_head_attention(query, key, value, self.num_heads, bias, dropout, output_attentions)


class XLMRobertaResidual(nn.Layer):
    """Linear layer, residual connection, LayerNorm."""

    def __init__(self, config: XLMRobertaConfig, in_features: int):
        super().__init__()
        self.dense = nn.Linear(in_features, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: paddle.Tensor, residual: paddle.Tensor) -> paddle.Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class XLMRobertaAttention(nn.Layer):
    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        # The key of released weights is `self`; add_sublayer avoids the attribute `self.self`.
        self.add_sublayer("self", XLMRobertaSelfAttention(config))
        self.output = XLMRobertaResidual(config, config.hidden_size)

    def forward(
        self, x: paddle.Tensor, bias: paddle.Tensor | None, output_attentions: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        mixed, weights = self._sub_layers["self"](x, bias, output_attentions)
        return self.output(mixed, x), weights


class XLMRobertaIntermediate(nn.Layer):
    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = get_activation(config.hidden_act)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.activation(self.dense(x))


class XLMRobertaLayer(nn.Layer):
    """Post-norm transformer layer: self-attention and MLP, each with a residual connection."""

    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        self.attention = XLMRobertaAttention(config)
        self.intermediate = XLMRobertaIntermediate(config)
        self.output = XLMRobertaResidual(config, config.intermediate_size)

    def forward(
        self, x: paddle.Tensor, bias: paddle.Tensor | None, output_attentions: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        x, weights = self.attention(x, bias, output_attentions)
        return self.output(self.intermediate(x), x), weights


class XLMRobertaEncoder(nn.Layer):
    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        self.layer = nn.LayerList([XLMRobertaLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(
        self, x: paddle.Tensor, bias: paddle.Tensor | None, output_attentions: bool = False
    ) -> tuple[tuple[paddle.Tensor, ...], tuple[paddle.Tensor, ...] | None]:
        """Return the hidden states, starting with the input, and the attention weights or None."""
        states, attentions = [x], []
        for layer in self.layer:
            x, weights = layer(x, bias, output_attentions)
            states.append(x)
            attentions.append(weights)
        return tuple(states), tuple(attentions) if output_attentions else None


class XLMRobertaPooler(nn.Layer):
    """Linear layer and tanh on the state of the first token."""

    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, S, D] -> [B, D]
        return F.tanh(self.dense(x[:, 0]))


class XLMRobertaModel(PretrainedModel):
    """XLM-RoBERTa's encoder and pooler."""

    config_class = XLMRobertaConfig
    ignore_unexpected = (r"embeddings\.position_ids$", r"embeddings\.token_type_ids$")

    def __init__(self, config: XLMRobertaConfig):
        super().__init__(config)
        if config.position_embedding_type != "absolute":
            raise ConfigError(
                f"Unknown position_embedding_type {config.position_embedding_type!r}.", expected="'absolute'"
            )
        self.embeddings = XLMRobertaEmbeddings(config)
        self.encoder = XLMRobertaEncoder(config)
        self.pooler = XLMRobertaPooler(config)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embeddings.word_embeddings

    def forward(
        self,
        input_ids: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        token_type_ids: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple:
        """Encode token ids [B, S]; `attention_mask` [B, S] is 1 for tokens and 0 for padding."""
        if input_ids is None:
            raise InputError("input_ids is None.", expected="token ids [B, S]")
        check_computable(self.pooler.dense.weight, "XLM-RoBERTa")
        x = self.embeddings(input_ids.astype("int64"), token_type_ids, position_ids)  # [B, S, D]
        bias = None
        if attention_mask is not None:
            bias = mask_to_bias(attention_mask.astype("bool").unsqueeze(1).unsqueeze(1), x.dtype)  # [B, 1, 1, S]
        states, attentions = self.encoder(x, bias, self._requests(output_attentions, "output_attentions"))
        output = BaseModelOutputWithPooling(states[-1], self.pooler(states[-1]), states, attentions)
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return padded_token_ids(self.config, rng)
