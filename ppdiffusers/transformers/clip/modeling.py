"""CLIP's text and vision encoders (arXiv 2103.00020), with the names and state dict keys of transformers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.transformers.clip.configuration import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from ppdiffusers.transformers.layers import check_heads, get_activation, mask_to_bias, multi_head_attention
from ppdiffusers.transformers.modeling_utils import BaseModelOutputWithPooling, PretrainedModel
from ppdiffusers.utils.dtypes import check_computable, computable
from ppdiffusers.utils.dummy_inputs import DummyInputs, clip_token_ids, pixel_values


@dataclass
class CLIPTextModelOutput(BaseOutput):
    """`text_embeds` [B, projection_dim], and the outputs of the text encoder."""

    text_embeds: paddle.Tensor | None = None
    last_hidden_state: paddle.Tensor | None = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None


@dataclass
class CLIPVisionModelOutput(BaseOutput):
    """`image_embeds` [B, projection_dim], and the outputs of the vision encoder."""

    image_embeds: paddle.Tensor | None = None
    last_hidden_state: paddle.Tensor | None = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None


@dataclass
class CLIPOutput(BaseOutput):
    """Similarities of images and texts, normalized embeddings, and the outputs of both encoders.

    Attributes:
        logits_per_image: [B_image, B_text].
        logits_per_text: [B_text, B_image].
        text_embeds: [B_text, projection_dim], of unit length.
        image_embeds: [B_image, projection_dim], of unit length.
    """

    logits_per_image: paddle.Tensor | None = None
    logits_per_text: paddle.Tensor | None = None
    text_embeds: paddle.Tensor | None = None
    image_embeds: paddle.Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None


class CLIPAttention(nn.Layer):
    """Multi-head self-attention over [B, S, D]."""

    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig):
        super().__init__()
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        check_heads(width, self.num_heads)
        self.dropout = config.attention_dropout
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self, x: paddle.Tensor, bias: paddle.Tensor | None, output_attentions: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        """Return the result [B, S, D], and the attention weights [B, H, S, S] or None."""
        dropout = self.dropout if self.training else 0.0
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)  # [B, S, D]
        mixed, weights = multi_head_attention(query, key, value, self.num_heads, bias, dropout, output_attentions)
        return self.out_proj(mixed), weights


class CLIPMLP(nn.Layer):
    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig):
        super().__init__()
        self.activation = get_activation(config.hidden_act)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class CLIPEncoderLayer(nn.Layer):
    """Pre-norm transformer layer: self-attention and MLP, each with a residual connection."""

    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig):
        super().__init__()
        self.self_attn = CLIPAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.mlp = CLIPMLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(
        self, x: paddle.Tensor, bias: paddle.Tensor | None, output_attentions: bool = False
    ) -> tuple[paddle.Tensor, paddle.Tensor | None]:
        attended, weights = self.self_attn(self.layer_norm1(x), bias, output_attentions)
        x = x + attended
        return x + self.mlp(self.layer_norm2(x)), weights


class CLIPEncoder(nn.Layer):
    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig):
        super().__init__()
        self.layers = nn.LayerList([CLIPEncoderLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(
        self, x: paddle.Tensor, bias: paddle.Tensor | None = None, output_attentions: bool = False
    ) -> tuple[tuple[paddle.Tensor, ...], tuple[paddle.Tensor, ...] | None]:
        """Return the hidden states, starting with the input, and the attention weights or None."""
        states, attentions = [x], []
        for layer in self.layers:
            x, weights = layer(x, bias, output_attentions)
            states.append(x)
            attentions.append(weights)
        return tuple(states), tuple(attentions) if output_attentions else None


class CLIPTextEmbeddings(nn.Layer):
    def __init__(self, config: CLIPTextConfig):
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, input_ids: paddle.Tensor, position_ids: paddle.Tensor | None = None) -> paddle.Tensor:
        tokens, limit = input_ids.shape[-1], self.position_embedding.weight.shape[0]
        if tokens > limit:
            raise InputError(f"The prompt has {tokens} tokens.", expected=f"at most {limit} tokens for this model")
        if position_ids is None:
            position_ids = paddle.arange(tokens, dtype="int64").unsqueeze(0)
        return self.token_embedding(input_ids) + self.position_embedding(position_ids)


class CLIPTextTransformer(nn.Layer):
    def __init__(self, config: CLIPTextConfig):
        super().__init__()
        self.eos_token_id = config.eos_token_id
        self.embeddings = CLIPTextEmbeddings(config)
        self.encoder = CLIPEncoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(
        self,
        input_ids: paddle.Tensor,
        attention_mask: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
        output_attentions: bool = False,
    ) -> BaseModelOutputWithPooling:
        if input_ids is None:
            raise InputError("input_ids is None.", expected="token ids [B, S]")
        input_ids = input_ids.reshape([-1, input_ids.shape[-1]]).astype("int64")
        check_computable(self.final_layer_norm.weight, "The CLIP text encoder")
        x = self.embeddings(input_ids, position_ids)  # [B, S, D]
        states, attentions = self.encoder(x, _causal_bias(x, attention_mask), output_attentions)
        last = self.final_layer_norm(states[-1])  # [B, S, D]
        pooled = last[paddle.arange(last.shape[0]), self._end_of_text(input_ids)]  # [B, D]
        return BaseModelOutputWithPooling(last, pooled, states, attentions)

    def _end_of_text(self, input_ids: paddle.Tensor) -> paddle.Tensor:  # [B]
        """Return the position of the end-of-text token of each prompt."""
        # Legacy configurations have eos_token_id 2, which is wrong; the end-of-text token has the largest id there.
        if self.eos_token_id == 2:
            return input_ids.argmax(axis=-1)
        return (input_ids == self.eos_token_id).astype("int32").argmax(axis=-1)


def _causal_bias(x: paddle.Tensor, attention_mask: paddle.Tensor | None) -> paddle.Tensor:
    """Return the bias [B or 1, 1, S, S] of causal attention, combined with a padding mask [B, S]."""
    tokens = x.shape[1]
    allowed = paddle.to_tensor(np.tril(np.ones((1, 1, tokens, tokens), dtype=bool)))
    if attention_mask is not None:
        allowed = paddle.logical_and(allowed, attention_mask.astype("bool").unsqueeze(1).unsqueeze(1))
    return mask_to_bias(allowed, x.dtype)


class CLIPVisionEmbeddings(nn.Layer):
    def __init__(self, config: CLIPVisionConfig):
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.image_size = config.image_size
        normal = nn.initializer.Normal(std=config.initializer_range)
        self.class_embedding = self.create_parameter([width], default_initializer=normal)
        self.patch_embedding = nn.Conv2D(config.num_channels, width, patch, stride=patch, bias_attr=False)
        self.position_embedding = nn.Embedding((config.image_size // patch) ** 2 + 1, width)

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        size = self.image_size
        if pixel_values.ndim != 4 or list(pixel_values.shape[2:]) != [size, size]:
            raise InputError(
                f"pixel_values has shape {list(pixel_values.shape)}.", expected=f"[batch, channels, {size}, {size}]"
            )
        patches = self.patch_embedding(pixel_values.astype(self.patch_embedding.weight.dtype))  # [B, D, H / P, W / P]
        patches = patches.flatten(2).transpose([0, 2, 1])  # [B, N, D]
        class_token = self.class_embedding.reshape([1, 1, -1]).expand([patches.shape[0], 1, patches.shape[2]])
        return paddle.concat([class_token, patches], axis=1) + self.position_embedding.weight  # [B, N + 1, D]


class CLIPVisionTransformer(nn.Layer):
    def __init__(self, config: CLIPVisionConfig):
        super().__init__()
        self.embeddings = CLIPVisionEmbeddings(config)
        # the key of released weights has this spelling
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(
        self, pixel_values: paddle.Tensor | None, output_attentions: bool = False
    ) -> BaseModelOutputWithPooling:
        if pixel_values is None:
            raise InputError("pixel_values is None.", expected="images [B, C, H, W]")
        check_computable(self.post_layernorm.weight, "The CLIP vision encoder")
        x = self.pre_layrnorm(self.embeddings(computable(pixel_values)))  # [B, N + 1, D]
        states, attentions = self.encoder(x, output_attentions=output_attentions)
        pooled = self.post_layernorm(states[-1][:, 0])  # [B, D]
        return BaseModelOutputWithPooling(states[-1], pooled, states, attentions)


# Weights files of a CLIPModel contain both encoders; loading one of them ignores the keys of the other.
_POSITIONS = r"^(.*\.)?embeddings\.position_ids$"
_NO_TEXT = (_POSITIONS, r"^text_model\.", r"^text_projection(\.weight)?$", r"^logit_scale$")
_NO_VISION = (_POSITIONS, r"^vision_model\.", r"^visual_projection\.weight$", r"^vision_projection$", r"^logit_scale$")


# -- models ---------------------------------------------------------------------------------------------------------


class _CLIPPretrained(PretrainedModel):
    """Base class of CLIP's models; ignores the position buffers of legacy files."""

    ignore_unexpected: tuple[str, ...] = (_POSITIONS,)


class CLIPTextModel(_CLIPPretrained):
    """CLIP's text encoder."""

    config_class = CLIPTextConfig
    key_mappings = ("clip_text_unprefixed", "paddlenlp_clip_text")
    ignore_unexpected = (*_NO_VISION, r"^text_projection(\.weight)?$")

    def __init__(self, config: CLIPTextConfig):
        super().__init__(config)
        self.text_model = CLIPTextTransformer(config)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.text_model.embeddings.token_embedding

    def forward(
        self,
        input_ids: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple:
        """Encode token ids [B, S]; `pooler_output` is the state of the end-of-text token."""
        attentions = self._requests(output_attentions, "output_attentions")
        output = self.text_model(input_ids, attention_mask, position_ids, attentions)
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"input_ids": clip_token_ids(self.config, rng)}


class CLIPTextModelWithProjection(_CLIPPretrained):
    """CLIP's text encoder with its projection into the joint embedding space."""

    config_class = CLIPTextConfig
    key_mappings = ("clip_text_unprefixed", "paddlenlp_clip_text")
    ignore_unexpected = _NO_VISION

    def __init__(self, config: CLIPTextConfig):
        super().__init__(config)
        self.text_model = CLIPTextTransformer(config)
        self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias_attr=False)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.text_model.embeddings.token_embedding

    def forward(
        self,
        input_ids: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CLIPTextModelOutput | tuple:
        """Encode token ids [B, S]; `text_embeds` is the projected pooled state."""
        attentions = self._requests(output_attentions, "output_attentions")
        encoded = self.text_model(input_ids, attention_mask, position_ids, attentions)
        text_embeds = self.text_projection(encoded.pooler_output)  # [B, projection_dim]
        output = CLIPTextModelOutput(text_embeds, encoded.last_hidden_state, encoded.hidden_states, encoded.attentions)
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"input_ids": clip_token_ids(self.config, rng)}


class CLIPVisionModel(_CLIPPretrained):
    """CLIP's vision encoder."""

    config_class = CLIPVisionConfig
    key_mappings = ("clip_vision_unprefixed", "paddlenlp_clip_vision")
    ignore_unexpected = (*_NO_TEXT, r"^visual_projection\.weight$", r"^vision_projection$")

    def __init__(self, config: CLIPVisionConfig):
        super().__init__(config)
        self.vision_model = CLIPVisionTransformer(config)

    def get_input_embeddings(self) -> nn.Conv2D:
        return self.vision_model.embeddings.patch_embedding

    def forward(
        self,
        pixel_values: paddle.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple:
        """Encode images [B, C, image_size, image_size]."""
        output = self.vision_model(pixel_values, self._requests(output_attentions, "output_attentions"))
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"pixel_values": pixel_values(self.config, rng)}


class CLIPVisionModelWithProjection(_CLIPPretrained):
    """CLIP's vision encoder with its projection into the joint embedding space."""

    config_class = CLIPVisionConfig
    key_mappings = ("clip_vision_unprefixed", "paddlenlp_clip_vision")
    ignore_unexpected = _NO_TEXT

    def __init__(self, config: CLIPVisionConfig):
        super().__init__(config)
        self.vision_model = CLIPVisionTransformer(config)
        self.visual_projection = nn.Linear(config.hidden_size, config.projection_dim, bias_attr=False)

    def get_input_embeddings(self) -> nn.Conv2D:
        return self.vision_model.embeddings.patch_embedding

    def forward(
        self,
        pixel_values: paddle.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CLIPVisionModelOutput | tuple:
        """Encode images [B, C, image_size, image_size]; `image_embeds` is the projected pooled state."""
        encoded = self.vision_model(pixel_values, self._requests(output_attentions, "output_attentions"))
        image_embeds = self.visual_projection(encoded.pooler_output)  # [B, projection_dim]
        output = CLIPVisionModelOutput(
            image_embeds, encoded.last_hidden_state, encoded.hidden_states, encoded.attentions
        )
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"pixel_values": pixel_values(self.config, rng)}


class CLIPModel(_CLIPPretrained):
    """CLIP's text and vision encoders; computes the similarity of texts and images."""

    config_class = CLIPConfig

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        self.text_model = CLIPTextTransformer(config.text_config)
        self.vision_model = CLIPVisionTransformer(config.vision_config)
        width = config.projection_dim
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, width, bias_attr=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, width, bias_attr=False)
        initial = nn.initializer.Constant(config.logit_scale_init_value)
        self.logit_scale = self.create_parameter([], default_initializer=initial)

    def get_text_features(
        self,
        input_ids: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """Return projected text embeddings [B, projection_dim], not normalized."""
        return self.text_projection(self.text_model(input_ids, attention_mask, position_ids).pooler_output)

    def get_image_features(self, pixel_values: paddle.Tensor | None = None) -> paddle.Tensor:
        """Return projected image embeddings [B, projection_dim], not normalized."""
        return self.visual_projection(self.vision_model(pixel_values).pooler_output)

    def forward(
        self,
        input_ids: paddle.Tensor | None = None,
        pixel_values: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> CLIPOutput | tuple:
        """Encode token ids [B_text, S] and images [B_image, C, H, W], and compute their similarities."""
        text = self.text_model(input_ids, attention_mask, position_ids)
        image = self.vision_model(pixel_values)
        text_embeds = F.normalize(self.text_projection(text.pooler_output), axis=-1)  # [B_text, D]
        image_embeds = F.normalize(self.visual_projection(image.pooler_output), axis=-1)  # [B_img, D]
        logits = (
            paddle.matmul(text_embeds, image_embeds, transpose_y=True) * self.logit_scale.exp()
        )  # [B_text, B_image]
        output = CLIPOutput(logits.t(), logits, text_embeds, image_embeds, text, image)
        return output.to_tuple() if return_dict is False else output

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {
            "input_ids": clip_token_ids(self.config.text_config, rng),
            "pixel_values": pixel_values(self.config.vision_config, rng),
        }
