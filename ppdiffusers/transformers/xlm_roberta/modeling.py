"""XLM-RoBERTa (arXiv 1911.02116): BERT's encoder (arXiv 1810.04805); names and keys as in the original library."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.transformers.layers import attend, check_heads, get_activation, mask_bias
from ppdiffusers.transformers.modeling_utils import BaseModelOutputWithPooling, PretrainedModel
from ppdiffusers.transformers.xlm_roberta.configuration import XLMRobertaConfig
from ppdiffusers.utils.dtypes import check_computable
from ppdiffusers.utils.dummy_inputs import DummyInputs, padded_token_ids


class XLMRobertaEmbeddings(nn.Layer):
    """Token, position and type embeddings, summed and normalised."""

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
        most = self.position_embeddings.weight.shape[0] - self.padding_idx - 1
        if input_ids.shape[1] > most:
            raise InputError(f"The text has {input_ids.shape[1]} tokens; this model takes {most} at the most.")
        if position_ids is None:
            # tokens count from padding_idx + 1, padding stays there
            real = (input_ids != self.padding_idx).astype("int64")
            position_ids = real.cumsum(axis=1) * real + self.padding_idx
        if token_type_ids is None:
            token_type_ids = paddle.zeros_like(input_ids)
        summed = self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)
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

    def forward(self, x: paddle.Tensor, bias: paddle.Tensor | None) -> tuple[paddle.Tensor, paddle.Tensor]:
        dropout = self.dropout if self.training else 0.0
        return attend(self.query(x), self.key(x), self.value(x), self.num_heads, bias, dropout)


class XLMRobertaResidual(nn.Layer):
    """A linear layer whose result is added to the residual, then normalised."""

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
        # `self` is the published name; add_sublayer, because `self.self` reads badly
        self.add_sublayer("self", XLMRobertaSelfAttention(config))
        self.output = XLMRobertaResidual(config, config.hidden_size)

    def forward(self, x: paddle.Tensor, bias: paddle.Tensor | None) -> tuple[paddle.Tensor, paddle.Tensor]:
        mixed, weights = self._sub_layers["self"](x, bias)
        return self.output(mixed, x), weights


class XLMRobertaIntermediate(nn.Layer):
    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = get_activation(config.hidden_act)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.activation(self.dense(x))


class XLMRobertaLayer(nn.Layer):
    """Attention and a two-layer network, each added to its input and normalised behind the sum."""

    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        self.attention = XLMRobertaAttention(config)
        self.intermediate = XLMRobertaIntermediate(config)
        self.output = XLMRobertaResidual(config, config.intermediate_size)

    def forward(self, x: paddle.Tensor, bias: paddle.Tensor | None) -> tuple[paddle.Tensor, paddle.Tensor]:
        x, weights = self.attention(x, bias)
        return self.output(self.intermediate(x), x), weights


class XLMRobertaEncoder(nn.Layer):
    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        self.layer = nn.LayerList([XLMRobertaLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: paddle.Tensor, bias: paddle.Tensor | None) -> tuple[list, list]:
        """All hidden states, the input first, and all attention weights."""
        states, attentions = [x], []
        for layer in self.layer:
            x, weights = layer(x, bias)
            states.append(x)
            attentions.append(weights)
        return states, attentions


class XLMRobertaPooler(nn.Layer):
    """The first token's state through a linear layer and tanh."""

    def __init__(self, config: XLMRobertaConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, S, D] -> [B, D]
        return F.tanh(self.dense(x[:, 0]))


class XLMRobertaModel(PretrainedModel):
    """The encoder with its pooler."""

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
        """Encode ids [B, S]; `attention_mask` [B, S] is 1 for tokens that are read and 0 for padding."""
        if input_ids is None:
            raise InputError("input_ids is None: the text encoder needs token ids [B, S].")
        check_computable(self.pooler.dense.weight, "XLM-RoBERTa")
        x = self.embeddings(input_ids.astype("int64"), token_type_ids, position_ids)  # [B, S, D]
        bias = None
        if attention_mask is not None:
            bias = mask_bias(attention_mask.astype("bool").unsqueeze(1).unsqueeze(1), x.dtype)  # [B, 1, 1, S]
        states, attentions = self.encoder(x, bias)
        output = BaseModelOutputWithPooling(states[-1], self.pooler(states[-1]), tuple(states), tuple(attentions))
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return padded_token_ids(self.config, rng)
