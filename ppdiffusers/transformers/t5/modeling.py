"""T5's encoder (arXiv 1910.10683), with the names and state dict keys of transformers; mT5's is the same."""

from __future__ import annotations

import math

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.transformers.layers import get_activation, mask_to_bias, multi_head_attention
from ppdiffusers.transformers.modeling_utils import BaseModelOutput, PretrainedModel
from ppdiffusers.transformers.t5.configuration import MT5Config, T5Config
from ppdiffusers.utils.dtypes import check_computable, computable
from ppdiffusers.utils.dummy_inputs import DummyInputs, padded_token_ids

_FLOAT16_MARGIN = 1000  # distance of clipped values from the largest one, so that sums with them stay finite


class T5LayerNorm(nn.Layer):
    """Root mean square norm (arXiv 1910.07467), computed in float32: a scale, no bias."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.epsilon = epsilon
        self.weight = self.create_parameter([width], default_initializer=nn.initializer.Constant(1.0))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, S, D]
        x = x.astype("float32")
        x = x * paddle.rsqrt(x.square().mean(axis=-1, keepdim=True) + self.epsilon)
        return self.weight * x.astype(self.weight.dtype)


class T5Attention(nn.Layer):
    """Self-attention without scaling of the scores, with a bias for relative positions.

    Args:
        has_relative_attention_bias: the first layer has the bias of all layers.
    """

    def __init__(self, config: T5Config, has_relative_attention_bias: bool):
        super().__init__()
        width = config.num_heads * config.d_kv
        self.num_heads, self.dropout = config.num_heads, config.dropout_rate
        self.num_buckets = config.relative_attention_num_buckets
        self.max_distance = config.relative_attention_max_distance
        self.q = nn.Linear(config.d_model, width, bias_attr=False)
        self.k = nn.Linear(config.d_model, width, bias_attr=False)
        self.v = nn.Linear(config.d_model, width, bias_attr=False)
        self.o = nn.Linear(width, config.d_model, bias_attr=False)
        if has_relative_attention_bias:
            self.relative_attention_bias = nn.Embedding(self.num_buckets, config.num_heads)

    def position_bias(self, length: int) -> paddle.Tensor:
        """Return the bias for relative positions, [1, H, S, S]."""
        buckets = relative_position_buckets(length, self.num_buckets, self.max_distance)
        return self.relative_attention_bias(paddle.to_tensor(buckets)).transpose([2, 0, 1]).unsqueeze(0)

    def forward(
        self,
        x: paddle.Tensor,
        bias: paddle.Tensor,
        head_mask: paddle.Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Return the result [B, S, D], and the attention weights [B, H, S, S] or None; `head_mask` [H] scales heads."""
        dropout = self.dropout if self.training else 0.0
        query, key, value = self.q(x), self.k(x), self.v(x)  # [B, S, H * d_kv]
        mixed, weights = multi_head_attention(
            query, key, value, self.num_heads, bias, dropout, output_attentions, scale=1.0
        )
        if head_mask is not None:
            mixed = mixed * head_mask.repeat_interleave(mixed.shape[-1] // self.num_heads)  # [B, S, H * d_kv]
            weights = None if weights is None else weights * head_mask.reshape([1, -1, 1, 1])
        return self.o(mixed), weights


class T5LayerSelfAttention(nn.Layer):
    """Norm and self-attention, with a residual connection."""

    def __init__(self, config: T5Config, has_relative_attention_bias: bool):
        super().__init__()
        self.SelfAttention = T5Attention(config, has_relative_attention_bias)
        self.layer_norm = T5LayerNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(
        self,
        x: paddle.Tensor,
        bias: paddle.Tensor,
        head_mask: paddle.Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        mixed, weights = self.SelfAttention(self.layer_norm(x), bias, head_mask, output_attentions)
        return _add(x, self.dropout(mixed)), weights


class T5DenseActDense(nn.Layer):
    """Two linear layers with an activation between them."""

    def __init__(self, config: T5Config):
        super().__init__()
        self.wi = nn.Linear(config.d_model, config.d_ff, bias_attr=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias_attr=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.act = get_activation(config.dense_act_fn)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.dropout(self.act(self.wi(x)))  # [B, S, d_ff]
        return self.wo(x.astype(self.wo.weight.dtype))  # in float32 if the rest is in float16


class T5DenseGatedActDense(nn.Layer):
    """Gated linear unit (arXiv 2002.05202)."""

    def __init__(self, config: T5Config):
        super().__init__()
        self.wi_0 = nn.Linear(config.d_model, config.d_ff, bias_attr=False)
        self.wi_1 = nn.Linear(config.d_model, config.d_ff, bias_attr=False)
        self.wo = nn.Linear(config.d_ff, config.d_model, bias_attr=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.act = get_activation(config.dense_act_fn)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.dropout(self.act(self.wi_0(x)) * self.wi_1(x))  # [B, S, d_ff]
        return self.wo(x.astype(self.wo.weight.dtype))  # in float32 if the rest is in float16


class T5LayerFF(nn.Layer):
    """Norm and feed-forward layers, with a residual connection."""

    def __init__(self, config: T5Config):
        super().__init__()
        self.DenseReluDense = T5DenseGatedActDense(config) if config.is_gated_act else T5DenseActDense(config)
        self.layer_norm = T5LayerNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return _add(x, self.dropout(self.DenseReluDense(self.layer_norm(x))))


class T5Block(nn.Layer):
    """Transformer layer: self-attention, then feed-forward layers."""

    def __init__(self, config: T5Config, has_relative_attention_bias: bool):
        super().__init__()
        self.layer = nn.LayerList([T5LayerSelfAttention(config, has_relative_attention_bias), T5LayerFF(config)])

    def forward(
        self,
        x: paddle.Tensor,
        bias: paddle.Tensor,
        head_mask: paddle.Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        x, weights = self.layer[0](x, bias, head_mask, output_attentions)
        return _clip_float16(self.layer[1](_clip_float16(x))), weights


class T5Stack(nn.Layer):
    """The transformer layers and the last norm.

    Args:
        embed_tokens: embedding of tokens, which the model has under the name `shared` too.
    """

    def __init__(self, config: T5Config, embed_tokens: nn.Embedding):
        super().__init__()
        self.embed_tokens = embed_tokens
        self.block = nn.LayerList([T5Block(config, n == 0) for n in range(config.num_layers)])
        self.final_layer_norm = T5LayerNorm(config.d_model, config.layer_norm_epsilon)
        self.dropout = nn.Dropout(config.dropout_rate)

    def forward(
        self,
        x: paddle.Tensor,
        attention_mask: paddle.Tensor | None,
        head_mask: paddle.Tensor | None = None,
        output_attentions: bool = False,
    ) -> tuple[tuple[paddle.Tensor, ...], tuple[paddle.Tensor, ...] | None]:
        """Encode embeddings [B, S, D]: the inputs of all layers and the normalized output of the last one, and the
        attention weights or None."""
        bias = self.block[0].layer[0].SelfAttention.position_bias(x.shape[1])  # [1, H, S, S]
        if attention_mask is not None:
            bias = mask_to_bias(attention_mask.astype("bool")[:, None, None, :], x.dtype, bias)  # [B, H, S, S]
        x = self.dropout(x)
        states, attentions = [], []
        for n, block in enumerate(self.block):
            states.append(x)
            mask = None if head_mask is None else head_mask if head_mask.ndim == 1 else head_mask[n]  # [H]
            x, weights = block(x, bias, mask, output_attentions)
            attentions.append(weights)
        states.append(self.dropout(self.final_layer_norm(x)))
        return tuple(states), tuple(attentions) if output_attentions else None


class T5EncoderModel(PretrainedModel):
    """T5's encoder, of files of the encoder or of the whole T5.

    In float16 the second linear layer of each feed-forward part stays in float32, as in transformers: its outputs
    exceed the range of float16.
    """

    config_class = T5Config
    ignore_unexpected = (r"^decoder\.", r"^lm_head\.")
    keep_in_float32 = (r"\.wo\.weight$",)

    def __init__(self, config: T5Config):
        super().__init__(config)
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = T5Stack(config, self.shared)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.shared

    def get_encoder(self) -> T5Stack:
        return self.encoder

    def forward(
        self,
        input_ids: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        head_mask: paddle.Tensor | None = None,
        inputs_embeds: paddle.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput | tuple:
        """Encode token ids.

        Args:
            input_ids: [B, S].
            attention_mask: [B, S], 1 for tokens and 0 for padding.
            head_mask: [H] for all layers or [layers, H], factors of the attention heads.
            inputs_embeds: [B, S, D], used instead of the embeddings of `input_ids`.
            output_attentions, output_hidden_states: return these too; by default as the configuration says.
            return_dict: if False, return a tuple.

        Raises:
            InputError: not exactly one of `input_ids` and `inputs_embeds` is given, or the mask has another shape.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError(
                "input_ids and inputs_embeds are both given or both None.",
                expected="token ids [B, S], or embeddings [B, S, D]",
            )
        check_computable(self.shared.weight, "T5")
        x = self.shared(input_ids.astype("int64")) if inputs_embeds is None else computable(inputs_embeds)  # [B, S, D]
        if attention_mask is not None and list(attention_mask.shape) != list(x.shape[:2]):
            raise InputError(
                f"attention_mask has shape {list(attention_mask.shape)}.", expected=f"{list(x.shape[:2])}, as the ids"
            )
        with_attentions = self._requests(output_attentions, "output_attentions")
        states, attentions = self.encoder(x, attention_mask, head_mask, with_attentions)
        output = BaseModelOutput(states[-1], states, attentions)
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return padded_token_ids(self.config, rng)


class MT5EncoderModel(T5EncoderModel):
    """mT5's encoder."""

    config_class = MT5Config


def relative_position_buckets(length: int, num_buckets: int, max_distance: int) -> np.ndarray:
    """Return the bucket of each pair of positions, [S, S] (query, key).

    Half of the buckets are for keys after the query. In each half, one half is for exact distances, the other for
    distances whose logarithms are evenly spaced up to `max_distance`; the last one is for all larger distances.
    """
    positions = np.arange(length)
    relative = positions[None, :] - positions[:, None]  # [S, S], key minus query
    half = num_buckets // 2
    exact = half // 2
    distance = np.abs(relative)
    # float32 and this order of operations decide the bucket of a distance at a boundary, as in the original
    log_ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    scaled = log_ratio / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    far = np.minimum(exact + scaled.astype(np.int64), half - 1)
    return np.where(distance < exact, distance, far) + np.where(relative > 0, half, 0)


def _add(x: paddle.Tensor, y: paddle.Tensor) -> paddle.Tensor:
    """Add tensors; the sum of float16 and float32 is in float32."""
    if x.dtype != y.dtype:
        x, y = x.astype("float32"), y.astype("float32")
    return x + y


def _clip_float16(x: paddle.Tensor) -> paddle.Tensor:
    return clip_infinite(x, float(paddle.finfo(x.dtype).max)) if x.dtype == paddle.float16 else x


def clip_infinite(x: paddle.Tensor, largest: float) -> paddle.Tensor:
    """Clip a tensor with infinite values, and keep a distance from the largest number; others stay as they are."""
    finite = paddle.logical_not(paddle.isinf(x).any())
    return paddle.where(finite, x, x.clip(-largest + _FLOAT16_MARGIN, largest - _FLOAT16_MARGIN))
