"""What the decoder of unCLIP is conditioned on (Ramesh et al. 2022, arXiv 2204.06125, section 2.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.config import register_to_config
from ppdiffusers.core.errors import InputError
from ppdiffusers.models.modeling_utils import ModelMixin
from ppdiffusers.utils.dtypes import computable
from ppdiffusers.utils.dummy_inputs import BATCH, SEQUENCE, DummyInputs, normal


class UnCLIPTextProjModel(ModelMixin):
    """Combine embeddings of image and prompt: some are added to the timestep's, some become tokens.

    Args:
        clip_extra_context_tokens: number of tokens made from each image embedding.
        clip_embeddings_dim: channels of CLIP's embeddings.
        time_embed_dim: channels of the decoder's time embedding.
        cross_attention_dim: channels of the tokens that the decoder attends to.
    """

    @register_to_config
    def __init__(
        self,
        *,
        clip_extra_context_tokens: int = 4,
        clip_embeddings_dim: int = 768,
        time_embed_dim: int,
        cross_attention_dim: int,
    ):
        super().__init__()
        self.clip_extra_context_tokens = clip_extra_context_tokens
        self.learned_classifier_free_guidance_embeddings = self.create_parameter(
            [clip_embeddings_dim], default_initializer=nn.initializer.Constant()
        )
        self.embedding_proj = nn.Linear(clip_embeddings_dim, time_embed_dim)
        self.clip_image_embeddings_project_to_time_embeddings = nn.Linear(clip_embeddings_dim, time_embed_dim)
        self.clip_extra_context_tokens_proj = nn.Linear(
            clip_embeddings_dim, clip_extra_context_tokens * cross_attention_dim
        )
        self.encoder_hidden_states_proj = nn.Linear(clip_embeddings_dim, cross_attention_dim)
        self.text_encoder_hidden_states_norm = nn.LayerNorm(cross_attention_dim)

    def forward(
        self,
        *,
        image_embeddings: paddle.Tensor,
        prompt_embeds: paddle.Tensor,
        text_encoder_hidden_states: paddle.Tensor,
        do_classifier_free_guidance: bool,
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Return the tokens [N, clip_extra_context_tokens + L, cross_attention_dim] and the additions to the time
        embedding [N, time_embed_dim]; N is 2B with guidance, unconditional ones first, otherwise B.

        Args:
            image_embeddings: [B, clip_embeddings_dim].
            prompt_embeds: [N, clip_embeddings_dim].
            text_encoder_hidden_states: [N, L, clip_embeddings_dim].

        Raises:
            InputError: the numbers of image and prompt embeddings do not match.
        """
        image_embeddings, prompt_embeds = computable(image_embeddings), computable(prompt_embeds)
        text_encoder_hidden_states = computable(text_encoder_hidden_states)
        if do_classifier_free_guidance:
            unconditional = self.learned_classifier_free_guidance_embeddings.expand_as(image_embeddings)
            image_embeddings = paddle.concat([unconditional.astype(image_embeddings.dtype), image_embeddings])
        count = prompt_embeds.shape[0]
        if image_embeddings.shape[0] != count:
            raise InputError(
                f"{image_embeddings.shape[0]} image embeddings (with guidance, the unconditional ones included) do not "
                f"match {count} prompt embeddings."
            )
        time = self.clip_image_embeddings_project_to_time_embeddings(image_embeddings)
        time = time + self.embedding_proj(prompt_embeds)  # [N, time_embed_dim]

        extra = self.clip_extra_context_tokens_proj(image_embeddings)
        # the channels of a token are not neighbors in the projection
        extra = extra.reshape([count, -1, self.clip_extra_context_tokens]).transpose([0, 2, 1])
        tokens = self.text_encoder_hidden_states_norm(self.encoder_hidden_states_proj(text_encoder_hidden_states))
        return paddle.concat([extra, tokens], axis=1), time

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        width = self.config.clip_embeddings_dim
        return {
            "image_embeddings": normal(rng, BATCH, width),
            "prompt_embeds": normal(rng, 2 * BATCH, width),
            "text_encoder_hidden_states": normal(rng, 2 * BATCH, SEQUENCE, width),
            "do_classifier_free_guidance": True,
        }

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        tokens, time = network(**inputs)
        return {"tokens": tokens, "time": time}
