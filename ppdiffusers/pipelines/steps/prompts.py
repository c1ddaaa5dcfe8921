"""From texts to embeddings: tokenizer, text encoder, pairing with the negative prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.steps.checks import batch_of
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


def dtype_of(layer: paddle.nn.Layer) -> paddle.dtype:
    """dtype of the first floating point parameter (paddlenlp's models have no `.dtype`)."""
    return next(p.dtype for p in layer.parameters() if p.is_floating_point())


def encode_prompt(
    tokenizer: Any,
    text_encoder: paddle.nn.Layer,
    prompt: str | list[str] | None,
    num_images_per_prompt: int,
    do_classifier_free_guidance: bool,
    negative_prompt: str | list[str] | None = None,
    prompt_embeds: paddle.Tensor | None = None,
    negative_prompt_embeds: paddle.Tensor | None = None,
    clip_skip: int | None = None,
    dtype: Any = None,
) -> tuple[paddle.Tensor, paddle.Tensor | None]:
    """Embeddings of the prompts and, with guidance, of what is to be avoided.

    Args:
        num_images_per_prompt: each prompt's embedding is repeated so many times.
        prompt_embeds, negative_prompt_embeds: [B, L, D]; used instead of the texts.
        clip_skip: how many of the text encoder's last layers are left out (of the prompt's embedding only).
        dtype: of the result; by default the text encoder's.

    Returns:
        [B * num_images_per_prompt, L, D] twice; the second is None without guidance.
    """
    batch = batch_of(prompt, prompt_embeds)
    if text_encoder is not None:
        dtype = dtype_of(text_encoder)
    if prompt_embeds is None:
        texts = [prompt] if isinstance(prompt, str) else prompt
        prompt_embeds = encode_texts(tokenizer, text_encoder, texts, clip_skip=clip_skip, tell_truncation=True)
    if do_classifier_free_guidance and negative_prompt_embeds is None:
        texts = [negative_prompt or ""] * batch if not isinstance(negative_prompt, list) else negative_prompt
        negative_prompt_embeds = encode_texts(tokenizer, text_encoder, texts, max_length=prompt_embeds.shape[1])

    positive = prompt_embeds.astype(dtype or prompt_embeds.dtype).repeat_interleave(num_images_per_prompt, axis=0)
    if not do_classifier_free_guidance:
        return positive, negative_prompt_embeds
    negative = negative_prompt_embeds.astype(positive.dtype).repeat_interleave(num_images_per_prompt, axis=0)
    return positive, negative


def encode_texts(
    tokenizer: Any,
    text_encoder: paddle.nn.Layer,
    texts: list[str],
    max_length: int | None = None,
    clip_skip: int | None = None,
    tell_truncation: bool = False,
) -> paddle.Tensor:
    """The text encoder's last hidden states of padded texts: [B, max_length, D]."""
    if tokenizer is None or text_encoder is None:
        raise InputError(
            "Texts cannot be encoded: the pipeline has no tokenizer or no text encoder.",
            remedy="pass `prompt_embeds` and `negative_prompt_embeds`, or load the pipeline with these components.",
        )
    limit = max_length or tokenizer.model_max_length
    masked = bool(getattr(text_encoder.config, "use_attention_mask", None))
    wanted = {"return_attention_mask": True} if masked else {}
    # numpy is what every tokenizer gives: ours, transformers' and paddlenlp's
    tokens = tokenizer(texts, padding="max_length", max_length=limit, truncation=True, return_tensors="np", **wanted)
    ids = np.asarray(tokens["input_ids"])  # [B, L]
    if tell_truncation:
        _tell_truncation(tokenizer, texts, ids)
    mask = paddle.to_tensor(np.asarray(tokens["attention_mask"])) if masked else None
    inputs = paddle.to_tensor(ids.astype(np.int64))
    if clip_skip is None:
        return text_encoder(inputs, attention_mask=mask)[0]  # [B, L, D]
    hidden = text_encoder(inputs, attention_mask=mask, output_hidden_states=True, return_dict=True).hidden_states
    if not 0 <= clip_skip < len(hidden):
        raise InputError(
            f"clip_skip={clip_skip} asks for more layers than the text encoder has.",
            expected=f"0 to {len(hidden) - 1}",
        )
    return _final_norm(text_encoder)(hidden[-(clip_skip + 1)])


def _final_norm(text_encoder: paddle.nn.Layer) -> paddle.nn.Layer:
    """The norm after the last layer: `final_layer_norm`, which paddlenlp calls `ln_final`."""
    inner = getattr(text_encoder, "text_model", text_encoder)
    return inner.final_layer_norm if hasattr(inner, "final_layer_norm") else inner.ln_final


def _tell_truncation(tokenizer: Any, texts: list[str], ids: np.ndarray) -> None:
    """Warn of what did not fit: the encoder never sees it."""
    limit = ids.shape[1]
    cut = []
    for text in texts:
        whole = tokenizer([text], padding=False, return_tensors="np")["input_ids"][0]
        if len(whole) > limit:
            cut.append(tokenizer.decode([int(token) for token in whole[limit - 1 : -1]]))
    if cut:
        logger.warning(
            "The text encoder reads %d tokens; this part of the prompt was cut off: %s", limit, " | ".join(cut)
        )
