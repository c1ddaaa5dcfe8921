"""From texts to embeddings: tokenizer, text encoder, pairing with the negative prompt, weights, long prompts."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.checks import batch_of
from ppdiffusers.pipelines.stages.chunks import Chunker
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
    prompt_syntax: str = "plain",
    long_prompts: str = "split",
) -> tuple[paddle.Tensor, paddle.Tensor | None]:
    """Embeddings of the prompts and, with guidance, of what is to be avoided.

    **Long prompts.** A text encoder reads L0 tokens at once, 77 in Stable Diffusion. Prompts that fit give what
    diffusers gives. Of a longer one diffusers keeps the first 77 and warns; here it is split into chunks of 75 tokens,
    each put between the start and end tokens, padded and encoded for itself, and the results are joined: L = 154, 231,
    ... All prompts and negative prompts of a call get the same number of chunks, short ones with empty chunks at their
    end. `long_prompts="truncate"` is diffusers' way.

    **Weights.** With `prompt_syntax="webui"` a prompt is read as the Stable Diffusion web UI reads it: `(word)` has 1.1
    times the weight, `[word]` 1 / 1.1, `(word:1.3)` 1.3; brackets nest, `\\(` is a bracket, BREAK starts a chunk, and a
    full chunk ends at a comma if one is among its last 20 tokens. The weight multiplies the embedding of each token of
    the word; then each chunk is scaled so that its mean is what it was before.

    Args:
        num_images_per_prompt: each prompt's embedding is repeated so many times.
        prompt_embeds, negative_prompt_embeds: [B, L, D]; used instead of the texts.
        clip_skip: how many of the text encoder's last layers are left out (of the prompt's embedding only).
        dtype: of the result; by default the text encoder's.
        prompt_syntax: "plain" or "webui".
        long_prompts: "split" or "truncate".

    Returns:
        [B * num_images_per_prompt, L, D] twice; the second is None without guidance.
    """
    _check_modes(prompt_syntax, long_prompts)
    batch = batch_of(prompt, prompt_embeds)
    if text_encoder is not None:
        dtype = dtype_of(text_encoder)
    texts = [prompt] if isinstance(prompt, str) else prompt
    avoided = None
    if do_classifier_free_guidance and negative_prompt_embeds is None:
        avoided = negative_prompt if isinstance(negative_prompt, list) else [negative_prompt or ""] * batch
    given = prompt_embeds if prompt_embeds is not None else negative_prompt_embeds
    encoded, avoided_embeds = _encode_both(
        tokenizer,
        text_encoder,
        texts if prompt_embeds is None else None,
        avoided,
        None if given is None else given.shape[1],
        clip_skip,
        prompt_syntax,
        long_prompts,
    )
    prompt_embeds = encoded if prompt_embeds is None else prompt_embeds
    negative_prompt_embeds = avoided_embeds if avoided is not None else negative_prompt_embeds

    positive = prompt_embeds.astype(dtype or prompt_embeds.dtype).repeat_interleave(num_images_per_prompt, axis=0)
    if not do_classifier_free_guidance:
        return positive, negative_prompt_embeds
    negative = negative_prompt_embeds.astype(positive.dtype).repeat_interleave(num_images_per_prompt, axis=0)
    return positive, negative


def _check_modes(prompt_syntax: str, long_prompts: str) -> None:
    problems = []
    if prompt_syntax not in ("plain", "webui"):
        problems.append(f"`prompt_syntax` is 'plain' or 'webui', not {prompt_syntax!r}")
    if long_prompts not in ("split", "truncate"):
        problems.append(f"`long_prompts` is 'split' or 'truncate', not {long_prompts!r}")
    if prompt_syntax == "webui" and long_prompts == "truncate":
        problems.append("`long_prompts='truncate'` is for plain prompts: the web UI splits them")
    if problems:
        raise InputError("The prompt cannot be read so.", problems=problems)


def _encode_both(
    tokenizer: Any,
    text_encoder: paddle.nn.Layer,
    texts: list[str] | None,
    avoided: list[str] | None,
    length: int | None,
    clip_skip: int | None,
    prompt_syntax: str,
    long_prompts: str,
) -> tuple[paddle.Tensor | None, paddle.Tensor | None]:
    """Embeddings [B, L, D] of the texts and of what is to be avoided; None for None.

    Args:
        length: L, when one of the two is given as embeddings already.
    """
    if texts is None and avoided is None:
        return None, None
    _need_encoder(tokenizer, text_encoder)
    limit = tokenizer.model_max_length
    if long_prompts == "split" and (length is None or length % limit == 0):
        chunker = Chunker(tokenizer, limit, prompt_syntax)
        rows = [[chunker.chunks(text) for text in side or []] for side in (texts, avoided)]
        count = max(len(chunks) for side in rows for chunks in side)
        if length is not None and count > length // limit:
            raise InputError(
                f"A prompt of {count} chunks of {limit} tokens does not fit embeddings of {length} tokens.",
                remedy="shorten it, or encode both prompts in one call.",
            )
        count = count if length is None else length // limit
        if count > 1 or prompt_syntax == "webui":
            return tuple(
                _encode_chunks(text_encoder, chunker.arrays(side, count), skip) if side else None
                for side, skip in zip(rows, (clip_skip, None), strict=True)
            )
    encoded = None
    if texts is not None:
        encoded = encode_texts(tokenizer, text_encoder, texts, clip_skip=clip_skip, tell_truncation=True)
        length = encoded.shape[1]
    if avoided is not None:
        avoided = encode_texts(tokenizer, text_encoder, avoided, max_length=length)
    return encoded, avoided


def _encode_chunks(
    text_encoder: paddle.nn.Layer, arrays: tuple[np.ndarray, np.ndarray, np.ndarray], clip_skip: int | None
) -> paddle.Tensor:
    """Ids, mask and weights [chunks, B, length] -> [B, chunks * length, D]."""
    parts = []
    for ids, mask, weights in zip(*arrays, strict=True):
        hidden = _last_hidden(text_encoder, ids, mask, clip_skip)  # [B, length, D]
        parts.append(_weighted(hidden, weights))
    return paddle.concat(parts, axis=1)


def _weighted(hidden: paddle.Tensor, weights: np.ndarray) -> paddle.Tensor:
    """Each token's embedding times its weight, scaled so that the chunk's mean stays: [B, length, D]."""
    if (weights == 1).all():
        return hidden
    before = hidden.astype("float32")
    after = before * paddle.to_tensor(weights)[..., None]
    kept = before.mean(axis=[1, 2], keepdim=True) / after.mean(axis=[1, 2], keepdim=True)  # [B, 1, 1]
    return (after * kept).astype(hidden.dtype)


def encode_texts(
    tokenizer: Any,
    text_encoder: paddle.nn.Layer,
    texts: list[str],
    max_length: int | None = None,
    clip_skip: int | None = None,
    tell_truncation: bool = False,
) -> paddle.Tensor:
    """The text encoder's last hidden states of padded texts: [B, max_length, D]."""
    _need_encoder(tokenizer, text_encoder)
    ids, mask = tokenize(tokenizer, texts, max_length, tell_truncation)
    return _last_hidden(text_encoder, ids, mask, clip_skip)


def tokenize(
    tokenizer: Any, texts: list[str], max_length: int | None = None, tell_truncation: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Ids of padded and truncated texts, and their attention mask: [B, max_length] each.

    Args:
        max_length: by default as many as the text encoder reads.
        tell_truncation: warn of what did not fit.
    """
    limit = max_length or tokenizer.model_max_length
    # numpy is what every tokenizer gives: ours, transformers' and paddlenlp's
    tokens = tokenizer(
        texts,
        padding="max_length",
        max_length=limit,
        truncation=True,
        return_tensors="np",
        return_attention_mask=True,
    )
    ids = np.asarray(tokens["input_ids"])  # [B, L]
    if tell_truncation:
        _tell_truncation(tokenizer, texts, ids)
    return ids, np.asarray(tokens["attention_mask"])


def run_text_encoder(text_encoder: paddle.nn.Layer, ids: np.ndarray, mask: np.ndarray, **options: Any) -> Any:
    """What the text encoder gives for ids [B, L]; the mask is for those encoders whose configuration asks for it."""
    masked = bool(getattr(text_encoder.config, "use_attention_mask", None))
    attention_mask = paddle.to_tensor(mask) if masked else None
    return text_encoder(paddle.to_tensor(ids.astype(np.int64)), attention_mask=attention_mask, **options)


def _need_encoder(tokenizer: Any, text_encoder: paddle.nn.Layer) -> None:
    if tokenizer is None or text_encoder is None:
        raise InputError(
            "Texts cannot be encoded: the pipeline has no tokenizer or no text encoder.",
            remedy="pass `prompt_embeds` and `negative_prompt_embeds`, or load the pipeline with these components.",
        )


def _last_hidden(
    text_encoder: paddle.nn.Layer, ids: np.ndarray, mask: np.ndarray, clip_skip: int | None
) -> paddle.Tensor:
    """Token ids and attention mask [B, L] -> the last hidden states [B, L, D], or earlier ones."""
    if clip_skip is None:
        return run_text_encoder(text_encoder, ids, mask)[0]
    hidden = run_text_encoder(text_encoder, ids, mask, output_hidden_states=True, return_dict=True).hidden_states
    if not 0 <= clip_skip < len(hidden):
        raise InputError(
            f"clip_skip={clip_skip} asks for more layers than the text encoder has.",
            expected=f"0 to {len(hidden) - 1}",
        )
    return _final_norm(text_encoder)(hidden[-(clip_skip + 1)])


def _final_norm(text_encoder: paddle.nn.Layer) -> paddle.nn.Layer:
    """The norm after the last layer: `final_layer_norm`, which paddlenlp calls `ln_final`."""
    inner = getattr(text_encoder, "text_model", text_encoder)
    name = next((name for name in ("final_layer_norm", "ln_final") if hasattr(inner, name)), None)
    if name is None:
        raise InputError(f"clip_skip is for CLIP's text encoders, not for {type(text_encoder).__name__}.")
    return getattr(inner, name)


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
