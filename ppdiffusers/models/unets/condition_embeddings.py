"""What UNets and ControlNets add to their time embedding: classes, pooled prompts, sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.models.blocks.embeddings import TextTimeEmbedding, TimestepEmbedding, Timesteps, as_timesteps
from ppdiffusers.models.modeling_utils import per_level
from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, make_class_labels, normal

if TYPE_CHECKING:
    from ppdiffusers.core.config import FrozenDict


class ConditionEmbeddings:
    """Embed the timestep and the conditions that the configuration names.

    The network provides `time_proj`, `time_embedding` and `time_embed_act` (None if it has none).
    """

    config: FrozenDict
    time_proj: nn.Layer
    time_embedding: nn.Layer
    time_embed_act: nn.Layer | None

    def _build_condition_embeddings(self, raw_time_dim: int, time_embed_dim: int, class_act_fn: str = "silu") -> None:
        """Create `class_embedding` and `add_embedding`, None where the configuration has none.

        Args:
            raw_time_dim: channels of `time_proj`.
            class_act_fn: activation of the class embedding of type "timestep".
        """
        self.class_embedding = self._class_embedding(raw_time_dim, time_embed_dim, class_act_fn)
        self.add_embedding = self._addition_embedding(time_embed_dim)

    def _class_embedding(self, raw_time_dim: int, time_embed_dim: int, act_fn: str) -> nn.Layer | None:
        config = self.config
        kind, width = config.class_embed_type, config.projection_class_embeddings_input_dim
        if kind == "timestep":
            return TimestepEmbedding(raw_time_dim, time_embed_dim, act_fn=act_fn)
        if kind == "identity":
            return nn.Identity()
        if kind == "projection":
            return TimestepEmbedding(width, time_embed_dim)
        if kind == "simple_projection":
            return nn.Linear(width, time_embed_dim)
        return None if config.num_class_embeds is None else nn.Embedding(config.num_class_embeds, time_embed_dim)

    def _addition_embedding(self, time_embed_dim: int) -> nn.Layer | None:
        config = self.config
        if config.addition_embed_type == "text":
            width = config.encoder_hid_dim or per_level(config.cross_attention_dim, 1)[0]
            return TextTimeEmbedding(width, time_embed_dim, num_heads=config.addition_embed_type_num_heads)
        if config.addition_embed_type == "text_time":
            self.add_time_proj = Timesteps(config.addition_time_embed_dim, config.flip_sin_to_cos, config.freq_shift)
            return TimestepEmbedding(config.projection_class_embeddings_input_dim, time_embed_dim)
        return None

    def _missing_settings(self) -> list[str]:
        """A sentence for each key that another key of the configuration requires."""
        config = self.config
        required = []
        if config.class_embed_type in ("projection", "simple_projection"):
            required.append("projection_class_embeddings_input_dim")
        if config.addition_embed_type == "text_time":
            required += ["projection_class_embeddings_input_dim", "addition_time_embed_dim"]
        if config.encoder_hid_dim_type == "text_proj":
            required.append("encoder_hid_dim")
        return [f"{key} is required but not set" for key in required if config[key] is None]

    def _missing_conditions(
        self, class_labels: paddle.Tensor | None, added_cond_kwargs: dict[str, paddle.Tensor] | None
    ) -> list[str]:
        """A sentence for each condition that the network requires and a call lacks."""
        problems = []
        if self.class_embedding is not None and class_labels is None:
            problems.append("class_labels is None, but the network has a class embedding")
        if self.config.addition_embed_type == "text_time":
            added = added_cond_kwargs or {}
            missing = [key for key in ("text_embeds", "time_ids") if key not in added]
            problems += [f"added_cond_kwargs[{key!r}] is missing" for key in missing]
        return problems

    def _embed(
        self,
        sample: paddle.Tensor,
        timestep: paddle.Tensor | float | int,
        encoder_hidden_states: paddle.Tensor,
        class_labels: paddle.Tensor | None,
        timestep_cond: paddle.Tensor | None,
        added_cond_kwargs: dict[str, paddle.Tensor] | None,
    ) -> paddle.Tensor:  # [B, time_embed_dim]
        """Embed the timestep and all conditions that are added to it."""
        timesteps = as_timesteps(timestep, sample.shape[0])
        emb = self.time_embedding(self.time_proj(timesteps).astype(sample.dtype), timestep_cond)
        if self.class_embedding is not None:
            if self.config.class_embed_type == "timestep":
                class_labels = self.time_proj(class_labels).astype(sample.dtype)
            class_emb = self.class_embedding(class_labels).astype(sample.dtype)
            concat = self.config.get("class_embeddings_concat")
            emb = paddle.concat([emb, class_emb], axis=-1) if concat else emb + class_emb
        if self.config.addition_embed_type == "text":
            emb = emb + self.add_embedding(encoder_hidden_states)
        elif self.config.addition_embed_type == "text_time":
            time_ids, text_embeds = added_cond_kwargs["time_ids"], added_cond_kwargs["text_embeds"]
            time_embeds = self.add_time_proj(time_ids.flatten()).reshape([text_embeds.shape[0], -1])
            added = paddle.concat([text_embeds, time_embeds.astype(text_embeds.dtype)], axis=-1)
            emb = emb + self.add_embedding(added.astype(emb.dtype))
        return emb if self.time_embed_act is None else self.time_embed_act(emb)

    def _dummy_conditions(self, rng: np.random.Generator) -> DummyInputs:
        """Random class labels and added conditions for `dummy_inputs`."""
        config, inputs = self.config, {}
        labels = make_class_labels(config, rng)
        if labels is not None:
            inputs["class_labels"] = labels
        if config.addition_embed_type == "text_time":
            pooled_width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
            inputs["added_cond_kwargs"] = {
                "text_embeds": normal(rng, BATCH, pooled_width),
                "time_ids": rng.integers(0, 1024, (BATCH, 6)).astype(np.float32),
            }
        return inputs
