"""Prompts to embeddings: one `PromptEncoder` for each text encoder, combined into a `Conditioning`.

**Long prompts.** A text encoder reads a fixed number of tokens, 77 in Stable Diffusion. As in diffusers, longer prompts
are truncated, with a warning. With `long_prompts="split"` they are split into chunks of 75 tokens; each chunk is put
between the start and end tokens, padded and encoded separately, and the results are concatenated: L = 154, 231, ...
All embeddings of a call have one length L, the least common multiple of their lengths: shorter ones are repeated. The
softmax of cross-attention over keys that are repeated equally often is that over the keys themselves, so that a prompt
gives the image that it gives alone, whatever the length of its neighbors and of the negative prompt.

**Weights.** With `prompt_syntax="webui"` prompts use the syntax of the Stable Diffusion web UI: `(word)` multiplies the
weight by 1.1, `[word]` divides by it, `(word:1.3)` multiplies by 1.3; brackets nest, `\\(` is a literal bracket, BREAK
starts a chunk, and a full chunk ends at a comma if there is one among its last 20 tokens. The weight multiplies the
embedding of each token; each chunk is then rescaled to its original mean. Such prompts are split, not truncated.
`<lora:name:0.8>` is removed with a warning; `[a:b:0.5]`, `[a|b]` and AND are ordinary words, with a warning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.checks import num_prompts
from ppdiffusers.pipelines.stages.prompt_chunks import Chunk, Chunker
from ppdiffusers.pipelines.stages.prompt_weights import without_effect
from ppdiffusers.utils.dtypes import dtype_of
from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    from ppdiffusers.transformers.tokenization_utils import PretrainedTokenizer

PromptSyntax = Literal["plain", "webui"]
LongPrompts = Literal["truncate", "split"]

MAX_CHUNKS = 64  # of embeddings that are repeated to one length

logger = get_logger(__name__)


class ChunkRows(NamedTuple):
    """The chunks of B prompts.

    Attributes:
        ids, mask, weights: [chunks, B, length]; prompts with fewer chunks have empty ones, which are not used.
        counts: number of chunks of each prompt, B values.
        total: number of chunks that the embeddings of every prompt have, a multiple of each count.
    """

    ids: np.ndarray
    mask: np.ndarray
    weights: np.ndarray
    counts: list[int]
    total: int

    def join(self, hidden: Sequence[paddle.Tensor]) -> paddle.Tensor:
        """Weight the hidden states [B, length, D] of each chunk, and repeat them to [B, total * length, D]."""
        parts = [_weighted(part, weights) for part, weights in zip(hidden, self.weights, strict=True)]
        repeated = [
            paddle.concat([part[n : n + 1] for part in parts[:count]], axis=1).tile([1, self.total // count, 1])
            for n, count in enumerate(self.counts)
        ]  # [1, total * length, D] each
        return paddle.concat(repeated)


@dataclass(frozen=True)
class Conditioning:
    """What a denoising network is conditioned on, and its unconditional half.

    Attributes:
        prompt_embeds, negative_prompt_embeds: [B, L, D]; the second is None without guidance.
        pooled_prompt_embeds, negative_pooled_prompt_embeds: [B, P], for networks that use them.
        attention_mask, negative_attention_mask: [B, L], 1 for tokens to attend to, for networks that use it.
    """

    prompt_embeds: paddle.Tensor
    negative_prompt_embeds: paddle.Tensor | None = None
    pooled_prompt_embeds: paddle.Tensor | None = None
    negative_pooled_prompt_embeds: paddle.Tensor | None = None
    attention_mask: paddle.Tensor | None = None
    negative_attention_mask: paddle.Tensor | None = None

    def guided(self) -> paddle.Tensor:
        """Embeddings for one call of the network, [2B, L, D]: the unconditional ones first; [B, L, D] without them."""
        if self.negative_prompt_embeds is None:
            return self.prompt_embeds
        return paddle.concat([self.negative_prompt_embeds, self.prompt_embeds])

    def guided_pooled(self) -> paddle.Tensor:
        """Pooled embeddings in the same order, [2B, P] or [B, P]."""
        if self.negative_pooled_prompt_embeds is None:
            return self.pooled_prompt_embeds
        return paddle.concat([self.negative_pooled_prompt_embeds, self.pooled_prompt_embeds])


def prompt_settings(prompt_syntax: PromptSyntax, long_prompts: LongPrompts | None) -> dict[str, Any]:
    """The settings that differ from the defaults: an `encode_prompt` written for diffusers does not accept them."""
    if prompt_syntax == "plain" and long_prompts in ("truncate", None):
        return {}
    return {"prompt_syntax": prompt_syntax, "long_prompts": long_prompts}


def encode_prompts(
    encoder: PromptEncoder,
    *,
    prompt: str | list[str] | None,
    negative_prompt: str | list[str] | None = None,
    prompt_embeds: paddle.Tensor | None = None,
    negative_prompt_embeds: paddle.Tensor | None = None,
    num_images_per_prompt: int = 1,
    do_classifier_free_guidance: bool = True,
    clip_skip: int | None = None,
    dtype: paddle.dtype | None = None,
    prompt_syntax: PromptSyntax = "plain",
    long_prompts: LongPrompts | None = None,
) -> Conditioning:
    """Encode prompts and, with guidance, negative prompts with one text encoder.

    Args:
        prompt_embeds, negative_prompt_embeds: [B, L, D], used instead of the strings.
        num_images_per_prompt: each embedding is repeated this number of times.
        clip_skip: number of last layers of the text encoder to skip, for the prompt only, as in diffusers.
        dtype: of the result if the pipeline has no text encoder; otherwise it is that of the text encoder.
        prompt_syntax, long_prompts: see the module; None is "truncate", and "split" for the web UI's syntax.

    Raises:
        InputError: unknown settings, no text encoder for given strings, or a prompt that does not fit given embeddings.
    """
    split = splits(prompt_syntax, long_prompts)
    if encoder.text_encoder is not None:
        dtype = dtype_of(encoder.text_encoder)
    strings = [prompt] if isinstance(prompt, str) else prompt
    negatives = None
    if do_classifier_free_guidance and negative_prompt_embeds is None:
        count = num_prompts(prompt, prompt_embeds)
        negatives = negative_prompt if isinstance(negative_prompt, list) else [negative_prompt or ""] * count
    if prompt_embeds is not None:
        strings = None
    given = prompt_embeds if prompt_embeds is not None else negative_prompt_embeds
    length = None if given is None else given.shape[1]

    if strings is not None or negatives is not None:
        of_encoders = chunk_rows([encoder], [(strings, negatives)], prompt_syntax, length) if split else None
        if of_encoders is not None:
            rows = of_encoders[0]
            encoded = encoder.encode_chunks(rows[0], clip_skip), encoder.encode_chunks(rows[1])
            if given is not None:  # repeated like the prompts
                copies = next(some.total for some in rows if some is not None) * encoder.max_length // length
                prompt_embeds = None if prompt_embeds is None else prompt_embeds.tile([1, copies, 1])
                if negative_prompt_embeds is not None:
                    negative_prompt_embeds = negative_prompt_embeds.tile([1, copies, 1])
        else:
            encoded = encoder.encode_pair(strings, negatives, length, clip_skip)
        prompt_embeds = prompt_embeds if strings is None else encoded[0]
        negative_prompt_embeds = negative_prompt_embeds if negatives is None else encoded[1]

    positive = prompt_embeds.astype(dtype or prompt_embeds.dtype).repeat_interleave(num_images_per_prompt, axis=0)
    if not do_classifier_free_guidance:
        return Conditioning(positive, negative_prompt_embeds)
    negative = negative_prompt_embeds.astype(positive.dtype).repeat_interleave(num_images_per_prompt, axis=0)
    return Conditioning(positive, negative)


def splits(prompt_syntax: PromptSyntax, long_prompts: LongPrompts | None) -> bool:
    """Whether prompts are split into chunks."""
    problems = []
    if prompt_syntax not in ("plain", "webui"):
        problems.append(f"`prompt_syntax` must be 'plain' or 'webui', not {prompt_syntax!r}")
    if long_prompts not in ("split", "truncate", None):
        problems.append(f"`long_prompts` must be 'truncate' or 'split', not {long_prompts!r}")
    if prompt_syntax == "webui" and long_prompts == "truncate":
        problems.append("`long_prompts='truncate'` requires `prompt_syntax='plain'`: the web UI splits prompts")
    if problems:
        raise InputError("The prompt cannot be encoded with these settings.", problems=problems)
    return long_prompts == "split" or prompt_syntax == "webui"


def chunk_rows(
    encoders: Sequence[PromptEncoder],
    prompts: Sequence[Sequence[list[str] | None]],
    syntax: PromptSyntax,
    length: int | None,
) -> list[list[ChunkRows | None]] | None:
    """Split lists of prompts into chunks, and compute the number of chunks that all of them get.

    None if one chunk is enough and nothing is weighted: whole prompts are then encoded as in diffusers.

    Args:
        prompts: for each encoder, its lists of prompts, such as prompts and negative prompts; None for None.
        length: number of tokens of given embeddings, in which the prompts have to fit.
    """
    for encoder in encoders:
        encoder.require()
    limit = encoders[0].max_length
    if syntax == "webui":
        _warn_of_syntax(prompts)
    if length is not None and length % limit:
        return None
    chunkers = [Chunker(encoder.tokenizer, limit, syntax) for encoder in encoders]
    rows = [
        [[chunker.chunks(prompt) for prompt in some or []] for some in lists]
        for chunker, lists in zip(chunkers, prompts, strict=True)
    ]
    counts = {len(chunks) for lists in rows for some in lists for chunks in some}
    longest = max(counts)
    if length is not None and longest > length // limit:
        raise InputError(
            f"A prompt of {longest} chunks of {limit} tokens does not fit embeddings of {length} tokens.",
            remedy="shorten it, or encode both prompts in one call.",
        )
    total = math.lcm(*counts, 1 if length is None else length // limit)
    if total == 1 and syntax == "plain":
        return None
    if total > max(MAX_CHUNKS, longest):
        raise InputError(
            f"The prompts have {', '.join(map(str, sorted(counts)))} chunks of {limit} tokens: repeated to one "
            f"length they would have {total}.",
            expected=f"numbers of chunks with a common multiple of at most {MAX_CHUNKS}",
            remedy="generate the images in separate calls, or shorten the prompts.",
        )
    return [
        [_chunk_rows(chunker, some, total) if some else None for some in lists]
        for chunker, lists in zip(chunkers, rows, strict=True)
    ]


def _warn_of_syntax(prompts: Sequence[Sequence[list[str] | None]]) -> None:
    strings = {prompt for lists in prompts for some in lists for prompt in some or []}
    parts = sorted({part for prompt in strings for part in without_effect(prompt)})
    if parts:
        logger.warning("These parts of the prompt have no effect here as in the web UI: %s.", ", ".join(parts))


class PromptEncoder:
    """Encode prompts with one tokenizer and one text encoder.

    Args:
        tokenizer: of this library, transformers or paddlenlp.
        text_encoder: returns the last hidden states first; None if only embeddings are passed.
        can_split: whether the pipeline supports `long_prompts`; the warning of truncation then names it.
    """

    def __init__(
        self, tokenizer: PretrainedTokenizer | None, text_encoder: nn.Layer | None, *, can_split: bool = False
    ):
        self.tokenizer, self.text_encoder, self.can_split = tokenizer, text_encoder, can_split

    def require(self) -> None:
        """Raise InputError unless tokenizer and text encoder are there."""
        if self.tokenizer is None or self.text_encoder is None:
            raise InputError(
                "Prompts cannot be encoded: the pipeline has no tokenizer or no text encoder.",
                remedy="pass `prompt_embeds` and `negative_prompt_embeds`, or load the pipeline with these components.",
            )

    @property
    def max_length(self) -> int:
        """Number of tokens that the text encoder reads."""
        limit = self.tokenizer.model_max_length
        if limit < 100_000:
            return limit
        return self.text_encoder.config.max_position_embeddings  # the tokenizer was saved without a limit

    # -- whole prompts ------------------------------------------------------------------------------------------------

    def encode_pair(
        self,
        prompts: list[str] | None,
        negative_prompts: list[str] | None,
        length: int | None = None,
        clip_skip: int | None = None,
    ) -> tuple[paddle.Tensor | None, paddle.Tensor | None]:
        """Encode prompts and negative prompts, [B, L, D] each, truncated to the same length; None for None."""
        encoded = None
        if prompts is not None:
            encoded = self.encode(prompts, clip_skip=clip_skip, warn=True)
            length = encoded.shape[1]
        return encoded, None if negative_prompts is None else self.encode(negative_prompts, max_length=length)

    def encode(
        self,
        prompts: list[str],
        max_length: int | None = None,
        clip_skip: int | None = None,
        warn: bool = False,
    ) -> paddle.Tensor:
        """Encode padded and truncated prompts to the last hidden states [B, max_length, D].

        Args:
            warn: log the part of each prompt that is truncated.
        """
        self.require()
        ids, mask = self.tokenize(prompts, max_length, warn)
        return self.last_hidden_state(ids, mask, clip_skip)

    def tokenize(
        self, prompts: list[str], max_length: int | None = None, warn: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Token ids of padded and truncated prompts, and their attention mask: [B, max_length] each."""
        # every tokenizer returns numpy: ours, that of transformers and that of paddlenlp
        tokens = self.tokenizer(
            prompts,
            padding="max_length",
            max_length=max_length or self.max_length,
            truncation=True,
            return_tensors="np",
            return_attention_mask=True,
        )
        ids = np.asarray(tokens["input_ids"])  # [B, L]
        if warn:
            self._warn_of_truncation(prompts, ids.shape[1])
        return ids, np.asarray(tokens["attention_mask"])

    def _warn_of_truncation(self, prompts: list[str], limit: int) -> None:
        removed = []
        for prompt in prompts:
            ids = self.tokenizer([prompt], padding=False, return_tensors="np")["input_ids"][0]
            if len(ids) > limit:
                removed.append(self.tokenizer.decode([int(token) for token in ids[limit - 1 : -1]]))
        if removed:
            logger.warning(
                "The text encoder reads %d tokens. This part of the prompt is truncated: %s.%s",
                limit,
                " | ".join(removed),
                ' `long_prompts="split"` encodes all of it.' if self.can_split else "",
            )

    # -- chunks -------------------------------------------------------------------------------------------------------

    def encode_chunks(self, rows: ChunkRows | None, clip_skip: int | None = None) -> paddle.Tensor | None:
        """Encode the chunks of B prompts to [B, total * length, D]; None for None."""
        if rows is None:
            return None
        hidden = [
            self.last_hidden_state(ids, mask, clip_skip) for ids, mask in zip(rows.ids, rows.mask, strict=True)
        ]  # [B, length, D] each
        return rows.join(hidden)

    # -- the text encoder ---------------------------------------------------------------------------------------------

    def last_hidden_state(self, ids: np.ndarray, mask: np.ndarray, clip_skip: int | None = None) -> paddle.Tensor:
        """Run the text encoder on ids and mask [B, L]: the last hidden states [B, L, D], without skipped layers.

        Raises:
            InputError: clip_skip is larger than the number of layers, or the text encoder is not a CLIP model.
        """
        if clip_skip is None:
            return self.run(ids, mask)[0]
        hidden = self.run(ids, mask, output_hidden_states=True, return_dict=True).hidden_states
        if not 0 <= clip_skip < len(hidden):
            raise InputError(
                f"clip_skip={clip_skip} skips more layers than the text encoder has.",
                expected=f"0 to {len(hidden) - 1}",
            )
        return _final_norm(self.text_encoder)(hidden[-(clip_skip + 1)])

    def run(self, ids: np.ndarray, mask: np.ndarray, **options: Any) -> Any:
        """Run the text encoder on ids [B, L]; it gets the mask if its configuration has `use_attention_mask`."""
        masked = bool(getattr(self.text_encoder.config, "use_attention_mask", None))
        attention_mask = paddle.to_tensor(mask) if masked else None
        return self.text_encoder(paddle.to_tensor(ids.astype(np.int64)), attention_mask=attention_mask, **options)


class T5PromptEncoder(PromptEncoder):
    """Encode prompts with T5, which gets the attention mask whatever its configuration says.

    Args:
        max_length: number of tokens to read. T5 itself has no limit, but denoising networks are trained with one.
    """

    def __init__(self, tokenizer: PretrainedTokenizer | None, text_encoder: nn.Layer | None, *, max_length: int):
        super().__init__(tokenizer, text_encoder)
        self._max_length = max_length

    @property
    def max_length(self) -> int:
        return self._max_length

    def run(self, ids: np.ndarray, mask: np.ndarray, **options: Any) -> Any:
        """Run T5 on ids and mask [B, L]."""
        return self.text_encoder(paddle.to_tensor(ids.astype(np.int64)), paddle.to_tensor(mask), **options)


def _chunk_rows(chunker: Chunker, rows: list[list[Chunk]], total: int) -> ChunkRows:
    counts = [len(chunks) for chunks in rows]
    return ChunkRows(*chunker.arrays(rows, max(counts)), counts=counts, total=total)


def _weighted(hidden: paddle.Tensor, weights: np.ndarray) -> paddle.Tensor:
    """Multiply token embeddings [B, length, D] by weights [B, length], keeping the mean of each chunk."""
    if (weights == 1).all():
        return hidden
    before = hidden.astype("float32")
    after = before * paddle.to_tensor(weights)[..., None]
    ratio = before.mean(axis=[1, 2], keepdim=True) / after.mean(axis=[1, 2], keepdim=True)  # [B, 1, 1]
    return (after * ratio).astype(hidden.dtype)


def _final_norm(text_encoder: nn.Layer) -> nn.Layer:
    """The norm after the last layer: `final_layer_norm`, which is `ln_final` in paddlenlp."""
    inner = getattr(text_encoder, "text_model", text_encoder)
    name = next((name for name in ("final_layer_norm", "ln_final") if hasattr(inner, name)), None)
    if name is None:
        raise InputError(f"clip_skip requires a CLIP text encoder, not {type(text_encoder).__name__}.")
    return getattr(inner, name)
