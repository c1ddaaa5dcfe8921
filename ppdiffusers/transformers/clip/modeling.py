"""CLIP's text and image towers (arXiv 2103.00020); names and keys as in the original library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.transformers.clip.configuration import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from ppdiffusers.transformers.layers import attend, check_heads, get_activation, mask_bias
from ppdiffusers.transformers.modeling_utils import BaseModelOutputWithPooling, PretrainedModel
from ppdiffusers.utils.dtypes import check_computable
from ppdiffusers.utils.dummy_inputs import DummyInputs, clip_token_ids, pixel_values


@dataclass
class CLIPTextModelOutput(BaseOutput):
    """`text_embeds` [B, projection_dim] and the tower's own outputs."""

    text_embeds: paddle.Tensor = None
    last_hidden_state: paddle.Tensor = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None


@dataclass
class CLIPVisionModelOutput(BaseOutput):
    """`image_embeds` [B, projection_dim] and the tower's own outputs."""

    image_embeds: paddle.Tensor = None
    last_hidden_state: paddle.Tensor = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None


@dataclass
class CLIPOutput(BaseOutput):
    """Similarities [B_image, B_text] and their transpose, embeddings of unit length, and both towers' outputs."""

    logits_per_image: paddle.Tensor = None
    logits_per_text: paddle.Tensor = None
    text_embeds: paddle.Tensor = None
    image_embeds: paddle.Tensor = None
    text_model_output: Any = None
    vision_model_output: Any = None


class CLIPAttention(nn.Layer):
    """Multi-head self attention over [B, S, D]."""

    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig):
        super().__init__()
        width, self.num_heads = config.hidden_size, config.num_attention_heads
        check_heads(width, self.num_heads)
        self.dropout = config.attention_dropout
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: paddle.Tensor, bias: paddle.Tensor | None) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Result [B, S, D] and weights [B, H, S, S]; `bias` is added to the scores."""
        dropout = self.dropout if self.training else 0.0
        mixed, weights = attend(self.q_proj(x), self.k_proj(x), self.v_proj(x), self.num_heads, bias, dropout)
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
    """Attention and a two-layer network, each on a LayerNorm of its input and added to it."""

    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig):
        super().__init__()
        self.self_attn = CLIPAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.mlp = CLIPMLP(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(self, x: paddle.Tensor, bias: paddle.Tensor | None) -> tuple[paddle.Tensor, paddle.Tensor]:
        attended, weights = self.self_attn(self.layer_norm1(x), bias)
        x = x + attended
        return x + self.mlp(self.layer_norm2(x)), weights


class CLIPEncoder(nn.Layer):
    def __init__(self, config: CLIPTextConfig | CLIPVisionConfig):
        super().__init__()
        self.layers = nn.LayerList([CLIPEncoderLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(self, x: paddle.Tensor, bias: paddle.Tensor | None = None) -> tuple[list, list]:
        """All hidden states, the input first, and all attention weights."""
        states, attentions = [x], []
        for layer in self.layers:
            x, weights = layer(x, bias)
            states.append(x)
            attentions.append(weights)
        return states, attentions


class CLIPTextEmbeddings(nn.Layer):
    def __init__(self, config: CLIPTextConfig):
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, input_ids: paddle.Tensor, position_ids: paddle.Tensor | None = None) -> paddle.Tensor:
        tokens, most = input_ids.shape[-1], self.position_embedding.weight.shape[0]
        if tokens > most:
            raise InputError(f"The text has {tokens} tokens; this model takes {most} at the most.")
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
    ) -> BaseModelOutputWithPooling:
        if input_ids is None:
            raise InputError("input_ids is None: the text encoder needs token ids [B, S].")
        input_ids = input_ids.reshape([-1, input_ids.shape[-1]]).astype("int64")
        check_computable(self.final_layer_norm.weight, "The CLIP text encoder")
        x = self.embeddings(input_ids, position_ids)  # [B, S, D]
        states, attentions = self.encoder(x, _causal_bias(x, attention_mask))
        last = self.final_layer_norm(states[-1])
        pooled = last[paddle.arange(last.shape[0]), self._end_of_text(input_ids)]
        return BaseModelOutputWithPooling(last, pooled, tuple(states), tuple(attentions))

    def _end_of_text(self, input_ids: paddle.Tensor) -> paddle.Tensor:
        """Where each text ends: [B]. Files with eos_token_id 2 are older than that key; there it is the largest id."""
        if self.eos_token_id == 2:
            return input_ids.argmax(axis=-1)
        return (input_ids == self.eos_token_id).astype("int32").argmax(axis=-1)


def _causal_bias(x: paddle.Tensor, attention_mask: paddle.Tensor | None) -> paddle.Tensor:
    """[B or 1, 1, S, S]: 0 where a token may look, the dtype's lowest number elsewhere."""
    tokens = x.shape[1]
    allowed = paddle.to_tensor(np.tril(np.ones((1, 1, tokens, tokens), dtype=bool)))
    if attention_mask is not None:
        allowed = paddle.logical_and(allowed, attention_mask.astype("bool").unsqueeze(1).unsqueeze(1))
    return mask_bias(allowed, x.dtype)


class CLIPVisionEmbeddings(nn.Layer):
    def __init__(self, config: CLIPVisionConfig):
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.image_size = config.image_size
        draw = nn.initializer.Normal(std=config.initializer_range)
        self.class_embedding = self.create_parameter([width], default_initializer=draw)
        self.patch_embedding = nn.Conv2D(config.num_channels, width, patch, stride=patch, bias_attr=False)
        self.position_embedding = nn.Embedding((config.image_size // patch) ** 2 + 1, width)

    def forward(self, pixel_values: paddle.Tensor) -> paddle.Tensor:
        side = self.image_size
        if pixel_values.ndim != 4 or list(pixel_values.shape[2:]) != [side, side]:
            raise InputError(
                f"The picture has shape {list(pixel_values.shape)}.", expected=f"[batch, channels, {side}, {side}]"
            )
        patches = self.patch_embedding(pixel_values.astype(self.patch_embedding.weight.dtype))
        patches = patches.flatten(2).transpose([0, 2, 1])  # [B, patches, D]
        first = self.class_embedding.reshape([1, 1, -1]).expand([patches.shape[0], 1, patches.shape[2]])
        return paddle.concat([first, patches], axis=1) + self.position_embedding.weight


class CLIPVisionTransformer(nn.Layer):
    def __init__(self, config: CLIPVisionConfig):
        super().__init__()
        self.embeddings = CLIPVisionEmbeddings(config)
        # the published keys spell it so
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, epsilon=config.layer_norm_eps)

    def forward(self, pixel_values: paddle.Tensor) -> BaseModelOutputWithPooling:
        if pixel_values is None:
            raise InputError("pixel_values is None: the image encoder needs pictures [B, C, H, W].")
        check_computable(self.post_layernorm.weight, "The CLIP image encoder")
        states, attentions = self.encoder(self.pre_layrnorm(self.embeddings(pixel_values)))
        pooled = self.post_layernorm(states[-1][:, 0])
        return BaseModelOutputWithPooling(states[-1], pooled, tuple(states), tuple(attentions))


# A whole CLIP's file holds both halves; who loads one leaves out the other.
_POSITIONS = r"^(.*\.)?embeddings\.position_ids$"
_NO_TEXT = (_POSITIONS, r"^text_model\.", r"^text_projection(\.weight)?$", r"^logit_scale$")
_NO_VISION = (_POSITIONS, r"^vision_model\.", r"^visual_projection\.weight$", r"^vision_projection$", r"^logit_scale$")


# -- the models that are loaded and saved ---------------------------------------------------------------------------


class _CLIPPretrained(PretrainedModel):
    """What CLIP's models share: index buffers of old files are left out, outputs hold what was asked for."""

    ignore_unexpected = (_POSITIONS,)


class CLIPTextModel(_CLIPPretrained):
    """The text tower."""

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
        """Encode ids [B, S]. `pooler_output` is the state of the token that ends each text."""
        output = self.text_model(input_ids, attention_mask, position_ids)
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"input_ids": clip_token_ids(self.config, rng)}


class CLIPTextModelWithProjection(_CLIPPretrained):
    """The text tower and the projection into the common space."""

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
        """Encode ids [B, S]; `text_embeds` is the projected pooled state."""
        tower = self.text_model(input_ids, attention_mask, position_ids)
        output = CLIPTextModelOutput(
            self.text_projection(tower.pooler_output), tower.last_hidden_state, tower.hidden_states, tower.attentions
        )
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"input_ids": clip_token_ids(self.config, rng)}


class CLIPVisionModel(_CLIPPretrained):
    """The image tower."""

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
        """Encode pictures [B, C, image_size, image_size]."""
        output = self.vision_model(pixel_values)
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"pixel_values": pixel_values(self.config, rng)}


class CLIPVisionModelWithProjection(_CLIPPretrained):
    """The image tower and the projection into the common space."""

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
        """Encode pictures; `image_embeds` is the projected pooled state."""
        tower = self.vision_model(pixel_values)
        output = CLIPVisionModelOutput(
            self.visual_projection(tower.pooler_output), tower.last_hidden_state, tower.hidden_states, tower.attentions
        )
        return self._output(output, output_attentions, output_hidden_states, return_dict)

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"pixel_values": pixel_values(self.config, rng)}


class CLIPModel(_CLIPPretrained):
    """Both towers: how well texts and pictures fit."""

    config_class = CLIPConfig

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        self.text_model = CLIPTextTransformer(config.text_config)
        self.vision_model = CLIPVisionTransformer(config.vision_config)
        width = config.projection_dim
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, width, bias_attr=False)
        self.text_projection = nn.Linear(config.text_config.hidden_size, width, bias_attr=False)
        start = nn.initializer.Constant(config.logit_scale_init_value)
        self.logit_scale = self.create_parameter([], default_initializer=start)

    def get_text_features(
        self,
        input_ids: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """[B, projection_dim]"""
        return self.text_projection(self.text_model(input_ids, attention_mask, position_ids).pooler_output)

    def get_image_features(self, pixel_values: paddle.Tensor | None = None) -> paddle.Tensor:
        """[B, projection_dim]"""
        return self.visual_projection(self.vision_model(pixel_values).pooler_output)

    def forward(
        self,
        input_ids: paddle.Tensor | None = None,
        pixel_values: paddle.Tensor | None = None,
        attention_mask: paddle.Tensor | None = None,
        position_ids: paddle.Tensor | None = None,
        return_dict: bool | None = None,
    ) -> CLIPOutput | tuple:
        text = self.text_model(input_ids, attention_mask, position_ids)
        image = self.vision_model(pixel_values)
        text_embeds = F.normalize(self.text_projection(text.pooler_output), axis=-1)
        image_embeds = F.normalize(self.visual_projection(image.pooler_output), axis=-1)
        logits = paddle.matmul(text_embeds, image_embeds, transpose_y=True) * self.logit_scale.exp()
        output = CLIPOutput(logits.t(), logits, text_embeds, image_embeds, text, image)
        return output.to_tuple() if return_dict is False else output

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {
            "input_ids": clip_token_ids(self.config.text_config, rng),
            "pixel_values": pixel_values(self.config.vision_config, rng),
        }
