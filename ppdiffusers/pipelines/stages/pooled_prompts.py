"""Prompts for networks that read several CLIP text encoders and a pooled embedding, such as Stable Diffusion XL.

Podell et al., "SDXL" (arXiv 2307.01952), section 2.1: the penultimate hidden states of the text encoders are
concatenated along the channels, and the projected embedding of the last text encoder is the pooled embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.checks import num_prompts
from ppdiffusers.pipelines.stages.prompt_encoders import (
    ChunkRows,
    Conditioning,
    LongPrompts,
    PromptEncoder,
    PromptSyntax,
    chunk_rows,
    splits,
)
from ppdiffusers.utils.dtypes import dtype_of

Prompt = str | list[str] | None


class PooledEmbeds(NamedTuple):
    """Hidden states [B, L, D] and, of a text encoder with a projection, the pooled embedding [B, P]."""

    hidden: paddle.Tensor
    pooled: paddle.Tensor | None


def encode_pooled_prompts(
    encoders: Sequence[PromptEncoder],
    *,
    prompts: Sequence[Prompt],
    negative_prompts: Sequence[Prompt],
    prompt_embeds: paddle.Tensor | None = None,
    negative_prompt_embeds: paddle.Tensor | None = None,
    pooled_prompt_embeds: paddle.Tensor | None = None,
    negative_pooled_prompt_embeds: paddle.Tensor | None = None,
    force_zeros: bool = True,
    num_images_per_prompt: int = 1,
    do_classifier_free_guidance: bool = True,
    clip_skip: int | None = None,
    dtype: paddle.dtype | None = None,
    prompt_syntax: PromptSyntax = "plain",
    long_prompts: LongPrompts | None = None,
) -> Conditioning:
    """Encode prompts and, with guidance, negative prompts with several text encoders.

    The first chunk of a long prompt gives the pooled embedding.

    Args:
        prompts, negative_prompts: the prompts for each encoder; None is the prompt of the first encoder.
        prompt_embeds, negative_prompt_embeds: [B, L, D], used instead of the strings.
        pooled_prompt_embeds, negative_pooled_prompt_embeds: [B, P], likewise.
        force_zeros: without a negative prompt the unconditional embeddings are zero instead of those of "".
        clip_skip: number of layers to skip before the penultimate one, for the prompt only, as in diffusers.
        dtype: of the embeddings if there is no text encoder; otherwise it is that of the last text encoder.
        num_images_per_prompt, prompt_syntax, long_prompts: see `encode_prompts`.

    Raises:
        InputError: unknown settings, no text encoder for given strings, or a prompt that does not fit given embeddings.
    """
    split = splits(prompt_syntax, long_prompts)
    count = num_prompts(prompts[0], prompt_embeds)
    positives = None if prompt_embeds is not None else _for_each(prompts, count)
    negatives, zeros = None, False
    if do_classifier_free_guidance and negative_prompt_embeds is None:
        zeros = negative_prompts[0] is None and force_zeros
        negatives = None if zeros else _for_each((negative_prompts[0] or "", *negative_prompts[1:]), count)

    given = prompt_embeds if prompt_embeds is not None else negative_prompt_embeds
    encoded = _encode(encoders, positives, negatives, given, clip_skip, split, prompt_syntax)
    lengths = [one.hidden.shape[1] for one in encoded if one is not None]
    if split and given is not None and lengths and lengths[0] % given.shape[1] == 0:
        copies = lengths[0] // given.shape[1]  # repeated like the prompts
        prompt_embeds, negative_prompt_embeds = (
            None if one is None else one.tile([1, copies, 1]) for one in (prompt_embeds, negative_prompt_embeds)
        )
    if encoded[0] is not None:
        prompt_embeds = encoded[0].hidden
        pooled_prompt_embeds = encoded[0].pooled if pooled_prompt_embeds is None else pooled_prompt_embeds
    if encoded[1] is not None:
        negative_prompt_embeds, pooled = encoded[1]
        negative_pooled_prompt_embeds = (
            pooled if negative_pooled_prompt_embeds is None else negative_pooled_prompt_embeds
        )
    if zeros:
        negative_prompt_embeds = paddle.zeros_like(prompt_embeds)
        negative_pooled_prompt_embeds = paddle.zeros_like(pooled_prompt_embeds)

    text_encoder = encoders[-1].text_encoder
    dtype = (dtype or prompt_embeds.dtype) if text_encoder is None else dtype_of(text_encoder)
    embeds = [prompt_embeds.astype(dtype), None, pooled_prompt_embeds, None]
    if do_classifier_free_guidance:
        embeds[1], embeds[3] = negative_prompt_embeds.astype(dtype), negative_pooled_prompt_embeds
    return Conditioning(
        *(None if one is None else one.repeat_interleave(num_images_per_prompt, axis=0) for one in embeds)
    )


def _for_each(prompts: Sequence[Prompt], count: int) -> list[list[str]]:
    """A list of `count` strings for each encoder; an encoder without a prompt gets that of the first one."""
    return [
        prompt if isinstance(prompt, list) else [prompt] * count for prompt in (one or prompts[0] for one in prompts)
    ]


def _encode(
    encoders: Sequence[PromptEncoder],
    positives: list[list[str]] | None,
    negatives: list[list[str]] | None,
    given: paddle.Tensor | None,
    clip_skip: int | None,
    split: bool,
    syntax: PromptSyntax,
) -> tuple[PooledEmbeds | None, PooledEmbeds | None]:
    """Encode prompts and negative prompts for each encoder to the same length; None for None."""
    if positives is None and negatives is None:
        return None, None
    for encoder in encoders:
        encoder.require()
    length = None if given is None else given.shape[1]
    unset = [None] * len(encoders)
    pairs = list(zip(positives or unset, negatives or unset, strict=True))
    rows = chunk_rows(encoders, pairs, syntax, length) if split else None
    if rows is not None:
        encoded = [
            (_encode_chunks(encoder, ours, clip_skip), _encode_chunks(encoder, theirs))
            for encoder, (ours, theirs) in zip(encoders, rows, strict=True)
        ]
    else:
        encoded = [
            (_encode_whole(encoder, ours, None, clip_skip, warn=True), _encode_whole(encoder, theirs, length))
            for encoder, (ours, theirs) in zip(encoders, pairs, strict=True)
        ]
    return _concat([positive for positive, _ in encoded]), _concat([negative for _, negative in encoded])


def _encode_whole(
    encoder: PromptEncoder,
    prompts: list[str] | None,
    length: int | None,
    clip_skip: int | None = None,
    warn: bool = False,
) -> PooledEmbeds | None:
    return None if prompts is None else _penultimate(encoder, *encoder.tokenize(prompts, length, warn), clip_skip)


def _encode_chunks(encoder: PromptEncoder, rows: ChunkRows | None, clip_skip: int | None = None) -> PooledEmbeds | None:
    if rows is None:
        return None
    parts = [_penultimate(encoder, *chunk, clip_skip) for chunk in zip(rows.ids, rows.mask, strict=True)]
    return PooledEmbeds(rows.join([part.hidden for part in parts]), parts[0].pooled)


def _penultimate(encoder: PromptEncoder, ids: np.ndarray, mask: np.ndarray, clip_skip: int | None) -> PooledEmbeds:
    """Penultimate hidden states for ids and mask [B, L], without the skipped layers and without the final norm."""
    output = encoder.run(ids, mask, output_hidden_states=True, return_dict=True)
    hidden = output.hidden_states
    skipped = clip_skip or 0
    if not 0 <= skipped <= len(hidden) - 2:
        raise InputError(
            f"clip_skip={clip_skip} skips more layers than the text encoder has.", expected=f"0 to {len(hidden) - 2}"
        )
    return PooledEmbeds(hidden[-(skipped + 2)], getattr(output, "text_embeds", None))


def _concat(parts: list[PooledEmbeds | None]) -> PooledEmbeds | None:
    """Concatenate the hidden states along the channels; the pooled embedding is that of the encoder that has one."""
    if parts[0] is None:
        return None
    pooled = next((part.pooled for part in parts if part.pooled is not None), None)
    return PooledEmbeds(paddle.concat([part.hidden for part in parts], axis=-1), pooled)
