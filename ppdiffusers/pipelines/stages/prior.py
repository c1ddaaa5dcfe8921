"""The prior of unCLIP: CLIP embeddings of images from prompts (Ramesh et al. 2022, arXiv 2204.06125, section 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import paddle

from ppdiffusers.pipelines.stages.guidance import classifier_free_guidance
from ppdiffusers.pipelines.stages.prompt_encoders import PromptEncoder

if TYPE_CHECKING:
    from ppdiffusers.models.transformers.prior_transformer import PriorTransformer


class EncodedPrompts(NamedTuple):
    """Outputs of a CLIP text encoder for N prompts; with guidance the first half are those of empty prompts.

    Attributes:
        embeds: [N, D].
        hidden_states: [N, L, D].
        mask: [N, L] int64, 1 for tokens and 0 for padding.
    """

    embeds: paddle.Tensor
    hidden_states: paddle.Tensor
    mask: paddle.Tensor

    def repeat(self, times: int) -> EncodedPrompts:
        """Repeat the outputs for each prompt, for several images."""
        return EncodedPrompts(*(part.repeat_interleave(times, axis=0) for part in self))

    def with_unconditional(self, encoder: PromptEncoder) -> EncodedPrompts:
        """Put the outputs for empty prompts before these."""
        empty = encode_for_prior(encoder, [""]).repeat(self.embeds.shape[0])
        return EncodedPrompts(*(paddle.concat(pair) for pair in zip(empty, self, strict=True)))


def encode_for_prior(encoder: PromptEncoder, prompts: list[str], warn: bool = False) -> EncodedPrompts:
    """Encode padded and truncated prompts with a text encoder that has a projection.

    Args:
        warn: log the part of each prompt that is truncated.
    """
    encoder.require()
    ids, mask = encoder.tokenize(prompts, warn=warn)  # [B, L] each
    output = encoder.run(ids, mask, return_dict=True)
    return EncodedPrompts(output.text_embeds, output.last_hidden_state, paddle.to_tensor(mask.astype(np.int64)))


def predict_image_embedding(
    prior: PriorTransformer, sample: paddle.Tensor, t: Any, prompts: EncodedPrompts, guidance_scale: float
) -> paddle.Tensor:
    """Predict image embeddings [B, D] from noisy ones [B, D].

    Args:
        prompts: of 2B prompts for classifier-free guidance, or of B.
        guidance_scale: has no effect without guidance.
    """
    guided = prompts.embeds.shape[0] > sample.shape[0]
    prediction = prior(
        paddle.concat([sample] * 2) if guided else sample,
        timestep=t,
        proj_embedding=prompts.embeds,
        encoder_hidden_states=prompts.hidden_states,
        attention_mask=prompts.mask,
        return_dict=False,
    )[0]
    return classifier_free_guidance(prediction, guidance_scale) if guided else prediction
