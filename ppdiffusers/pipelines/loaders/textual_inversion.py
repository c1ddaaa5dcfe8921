"""Textual inversion (arXiv 2208.01618): learned token embeddings of a text encoder, with the methods of diffusers."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError, WeightsError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.additional_weights import open_additional_weights
from ppdiffusers.io.torch_pickle import read_torch_strings
from ppdiffusers.utils.lazy_tensors import as_lazy_tensor
from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    from ppdiffusers.transformers.tokenization_utils import PretrainedTokenizer

logger = get_logger(__name__)

TEXT_INVERSION_NAME = "learned_embeds.bin"
TEXT_INVERSION_NAME_SAFE = "learned_embeds.safetensors"

_WEBUI_PICKLE = "string_to_param.*"  # name of the vectors in the web UI's .pt, whose trigger word is its "name"
_WEBUI_SAFETENSORS = "emb_params"  # ... and in its .safetensors, whose trigger word is the name of the file
_CLIP_L, _CLIP_G = "clip_l", "clip_g"  # names of the vectors for the two text encoders of SDXL in the web UI's files

Target = tuple["PretrainedTokenizer", nn.Layer]


@dataclass(frozen=True)
class Concept:
    """The vectors of one trigger word.

    Attributes:
        token: the trigger word; None if the file does not say.
        vectors: float32 [N, D].
        part: "clip_l" or "clip_g" in files for two text encoders, otherwise "".
    """

    token: str | None
    vectors: np.ndarray
    part: str = ""


class TextualInversionLoaderMixin:
    """Textual inversion of pipelines with a tokenizer and a text encoder, which it changes."""

    def load_textual_inversion(
        self,
        pretrained_model_name_or_path: Any,
        token: str | Sequence[str] | None = None,
        tokenizer: PretrainedTokenizer | None = None,
        text_encoder: nn.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        """Add learned tokens to the tokenizer and their vectors to the text encoder.

        A concept with several vectors adds the tokens `token`, `token_1`, ...; `token` in a prompt stands for all.

        Args:
            pretrained_model_name_or_path: one of these, or a list: a file of diffusers (`.bin`, `.safetensors`) or of
                the web UI (`.pt`, `.safetensors`), a folder, the name of a repository on a hub, a dictionary
                {token: tensor}, or a tensor [D] or [N, D]; a tensor [N, D] with a list of N tokens gives one to each.
            token: replaces the token of the file; a list for several.
            tokenizer, text_encoder: by default those of the pipeline.
            kwargs: `weight_name`, `subfolder`, `use_safetensors`, and options of hubs, as in `from_pretrained`.

        Raises:
            InputError: tokens that exist, are missing or repeated, or vectors of a wrong size; nothing is changed.
            WeightsError: a file is not a textual inversion.
        """
        targets = self._inversion_targets(tokenizer, text_encoder)
        several = isinstance(pretrained_model_name_or_path, list)
        sources = pretrained_model_name_or_path if several else [pretrained_model_name_or_path]
        tokens = list(token) if isinstance(token, (list, tuple)) else [token] * len(sources)
        if "hf_token" in kwargs:
            kwargs["token"] = kwargs.pop("hf_token")
        read = [_read(source, kwargs, targets.keys()) for source in sources]
        if len(read) == 1 and len(tokens) > 1 and read[0][0].token is None:
            read = [[Concept(None, vector[None])] for vector in read[0][0].vectors]
        if len(read) != len(tokens):
            raise InputError(f"There are {len(tokens)} tokens for {len(read)} embeddings.", expected="one for each")
        named = [
            replace(concept, token=own or concept.token)
            for own, concepts in zip(tokens, read)
            for concept in concepts
            if targets[concept.part][1] is not None
        ]
        by_encoder = [
            (target, [concept for concept in named if targets[concept.part][1] is target[1]])
            for target in {id(target[1]): target for target in targets.values()}.values()
        ]
        problems = [problem for target, concepts in by_encoder for problem in _problems(concepts, *target)]
        if problems:
            raise InputError("The textual inversion cannot be loaded; nothing was changed.", problems=problems)
        for target, concepts in by_encoder:
            if concepts:
                _add(concepts, *target)

    def unload_textual_inversion(
        self,
        tokens: str | Sequence[str] | None = None,
        tokenizer: PretrainedTokenizer | None = None,
        text_encoder: nn.Layer | None = None,
    ) -> None:
        """Remove learned tokens and their vectors.

        Args:
            tokens: by default all that are not special tokens. All tokens of a concept with several vectors are
                removed.
            tokenizer, text_encoder: by default those of the pipeline.

        Raises:
            InputError: unknown tokens.
        """
        tokenizer, text_encoder = self._text_components(tokenizer, text_encoder)
        learned = [t.content for t in tokenizer.added_tokens_decoder.values() if not t.special]
        if tokens is None:
            removed = learned
        else:
            names = [tokens] if isinstance(tokens, str) else list(tokens)
            unknown = [name for name in names if name not in learned]
            if unknown:
                raise InputError("The tokenizer has not learned these tokens.", problems=unknown)
            removed = list(dict.fromkeys(t for name in names for t in _tokens_of(name, learned)))
        ids = [tokenizer.convert_tokens_to_ids(name) for name in removed]
        tokenizer.remove_tokens(removed)
        embedding = text_encoder.get_input_embeddings()
        kept = [n for n in range(embedding.weight.shape[0]) if n not in set(ids)]
        rows = embedding.weight.detach()[paddle.to_tensor(kept)]  # [V, D]
        text_encoder.resize_token_embeddings(len(kept))
        text_encoder.get_input_embeddings().weight.set_value(rows)

    def maybe_convert_prompt(
        self, prompt: str | list[str] | None, tokenizer: PretrainedTokenizer
    ) -> str | list[str] | None:
        """Write out the tokens of concepts with several vectors: "a cat" -> "a cat cat_1 cat_2"."""
        learned = list(getattr(tokenizer, "added_tokens_encoder", ()))
        several = [name for name in learned if f"{name}_1" in learned]
        if prompt is None or not several:
            return prompt
        if isinstance(prompt, list):
            return [_written_out(one, tokenizer, several, learned) for one in prompt]
        return _written_out(prompt, tokenizer, several, learned)

    def _inversion_targets(
        self, tokenizer: PretrainedTokenizer | None, text_encoder: nn.Layer | None
    ) -> dict[str, Target]:
        """Return the tokenizer and the text encoder of each part that a file may have."""
        return {"": self._text_components(tokenizer, text_encoder)}

    def _text_components(
        self, tokenizer: PretrainedTokenizer | None, text_encoder: nn.Layer | None
    ) -> tuple[PretrainedTokenizer, nn.Layer]:
        tokenizer = getattr(self, "tokenizer", None) if tokenizer is None else tokenizer
        text_encoder = getattr(self, "text_encoder", None) if text_encoder is None else text_encoder
        if tokenizer is None or text_encoder is None:
            raise InputError("Textual inversion requires a tokenizer and a text encoder; the pipeline lacks one.")
        return tokenizer, text_encoder


def _written_out(prompt: str, tokenizer: PretrainedTokenizer, several: list[str], learned: list[str]) -> str:
    present = set(tokenizer.tokenize(prompt))
    for name in several:
        if name in present:
            prompt = prompt.replace(name, " ".join(_tokens_of(name, learned)))
    return prompt


def _tokens_of(name: str, learned: Sequence[str]) -> list[str]:
    """Return the tokens of all vectors of a concept."""
    tokens = [name]
    while f"{name}_{len(tokens)}" in learned:
        tokens.append(f"{name}_{len(tokens)}")
    return tokens


# -- reading ------------------------------------------------------------------------------------------------------


def _read(source: Any, kwargs: Mapping[str, Any], parts: Collection[str]) -> list[Concept]:
    """Read one source: a concept, or one for each of these parts that the file has."""
    if isinstance(source, Mapping):
        return _read_dictionary(source, parts)
    if not isinstance(source, (str, os.PathLike)):
        return [Concept(None, _vectors(as_lazy_tensor("the embedding", source), None))]
    names = (TEXT_INVERSION_NAME_SAFE, TEXT_INVERSION_NAME)
    checkpoint = open_additional_weights(source, names, kwargs, nested=True)
    path = checkpoint.files[0]
    if _WEBUI_PICKLE in checkpoint:
        name = read_torch_strings(path).get("name") or path.stem
        return [Concept(name, _vectors(checkpoint[_WEBUI_PICKLE], path))]
    return _of_tensors(checkpoint, path, parts)


def _read_dictionary(source: Mapping[str, Any], parts: Collection[str]) -> list[Concept]:
    if "string_to_param" in source:
        parameters = source["string_to_param"]
        if not isinstance(parameters, Mapping) or "*" not in parameters:
            raise WeightsError("This is not a textual inversion.", expected='`string_to_param` with a tensor "*"')
        return [Concept(source.get("name"), _vectors(as_lazy_tensor("*", parameters["*"]), None))]
    return _of_tensors({name: as_lazy_tensor(name, tensor) for name, tensor in source.items()}, None, parts)


def _of_tensors(tensors: Mapping[str, LazyTensor], path: Path | None, parts: Collection[str]) -> list[Concept]:
    if tensors and all(name in (_CLIP_L, _CLIP_G) and name in parts for name in tensors):
        token = None if path is None else path.stem
        return [Concept(token, _vectors(tensor, path), name) for name, tensor in tensors.items()]
    if len(tensors) != 1:
        raise WeightsError(
            "This is not a textual inversion.",
            where=path,
            problems=[f"it has the tensors {', '.join(list(tensors)[:10]) or '(none)'}"],
            expected="one tensor named by its token, or a file of the web UI",
        )
    name, tensor = next(iter(tensors.items()))
    if name == _WEBUI_SAFETENSORS and path is not None:
        name = path.stem
    return [Concept(name, _vectors(tensor, path))]


def _vectors(tensor: LazyTensor, path: Path | None) -> np.ndarray:
    array = tensor.astype("float32").read()
    if array.ndim not in (1, 2) or not array.size:
        raise WeightsError(f"The embedding has shape {list(array.shape)}.", where=path, expected="[D] or [N, D]")
    return array.reshape(-1, array.shape[-1])


# -- adding -------------------------------------------------------------------------------------------------------


def _problems(concepts: Sequence[Concept], tokenizer: PretrainedTokenizer, text_encoder: nn.Layer) -> list[str]:
    if not concepts:
        return []
    vocabulary, width = tokenizer.get_vocab(), text_encoder.get_input_embeddings().weight.shape[1]
    problems: list[str] = []
    seen = set()
    for concept in concepts:
        name = concept.token
        if not name:
            problems.append("an embedding has no token: pass `token=`")
            continue
        if name in seen:
            problems.append(f"{name}: given twice")
        if name in vocabulary or f"{name}_1" in vocabulary:
            problems.append(f"{name}: already in the vocabulary; pass another `token`, or unload it first")
        if concept.vectors.shape[1] != width:
            size = concept.vectors.shape[1]
            problems.append(f"{name}: vectors of size {size}, but those of the text encoder have {width}")
        seen.add(name)
    return problems


def _add(concepts: Sequence[Concept], tokenizer: PretrainedTokenizer, text_encoder: nn.Layer) -> None:
    names = [f"{c.token}_{n}" if n else str(c.token) for c in concepts for n in range(len(c.vectors))]
    first = len(tokenizer)
    text_encoder.resize_token_embeddings(first + len(names))
    tokenizer.add_tokens(names)
    weight = text_encoder.get_input_embeddings().weight  # [V, D]
    vectors = np.concatenate([concept.vectors for concept in concepts])  # [N, D]
    with paddle.no_grad():
        weight[first:] = paddle.to_tensor(vectors).astype(weight.dtype)
    logger.info("Loaded the tokens %s.", ", ".join(names))
