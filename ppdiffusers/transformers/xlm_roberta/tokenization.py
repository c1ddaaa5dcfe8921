"""XLM-RoBERTa's SentencePiece tokenizers; ids are equal to those of transformers."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_json
from ppdiffusers.transformers.sentencepiece_model import SPACE, PieceType, SentencePieceModel
from ppdiffusers.transformers.sentencepiece_tokenizer import SentencePieceTokenizer, unigram_backend
from ppdiffusers.transformers.tokenization_utils import FastTokenizer, TokenLike

MODEL_FILE, JSON_FILE = "sentencepiece.bpe.model", "tokenizer.json"
# The vocabulary has fairseq's four special tokens instead of SentencePiece's three: ids are higher by one.
_FAIRSEQ_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
_SENTENCEPIECE_TYPES = (PieceType.UNKNOWN, PieceType.CONTROL, PieceType.CONTROL)


class _XLMRobertaTokenizerBase(SentencePieceTokenizer):
    """Files and special tokens of both tokenizers.

    Args:
        vocab_file: a SentencePiece model (`sentencepiece.bpe.model`).
        tokenizer_file: a `tokenizer.json`, read if `vocab_file` is not given.
        bos_token, eos_token, sep_token, cls_token, unk_token, pad_token, mask_token: see `TokenLike`.
        model_max_length, additional_special_tokens, added_tokens_decoder, clean_up_tokenization_spaces, padding_side,
            truncation_side: see `PretrainedTokenizer`.
    """

    special_names = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    first_token, last_token = "cls_token", "sep_token"
    model_file = MODEL_FILE

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        tokenizer_file: str | os.PathLike | None = None,
        bos_token: TokenLike = "<s>",
        eos_token: TokenLike = "</s>",
        sep_token: TokenLike = "</s>",
        cls_token: TokenLike = "<s>",
        unk_token: TokenLike = "<unk>",
        pad_token: TokenLike = "<pad>",
        mask_token: TokenLike = "<mask>",
        model_max_length: float | None = None,
        additional_special_tokens: Iterable[TokenLike] | None = None,
        added_tokens_decoder: Mapping[int, TokenLike] | None = None,
        clean_up_tokenization_spaces: bool = False,
        padding_side: str = "right",
        truncation_side: str = "right",
        **kwargs: Any,
    ):
        if vocab_file is None and tokenizer_file is None:
            raise ConfigError("An XLM-RoBERTa tokenizer needs vocab_file or tokenizer_file.")
        self.tokenizer_file = tokenizer_file
        model = _read_json_model(tokenizer_file) if vocab_file is None else _read_model(vocab_file)
        super().__init__(
            model,
            {
                "bos_token": bos_token,
                "eos_token": eos_token,
                "unk_token": unk_token,
                "sep_token": sep_token,
                "pad_token": pad_token,
                "cls_token": cls_token,
                "mask_token": mask_token,
            },
            {piece: index for index, piece in enumerate(_fairseq_pieces(model))},
            model_max_length=model_max_length,
            additional_special_tokens=additional_special_tokens,
            added_tokens_decoder=added_tokens_decoder,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            padding_side=padding_side,
            truncation_side=truncation_side,
        )

    def _special_token(self, name: str, token: TokenLike) -> AddedToken:
        if name == "mask_token" and isinstance(token, str):
            return AddedToken(token, lstrip=True, normalized=False, special=True)  # includes the space in front of it
        return super()._special_token(name, token)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens).replace(SPACE, " ").strip()


class XLMRobertaTokenizer(_XLMRobertaTokenizerBase):
    """The tokenizer of released AltDiffusion models."""

    vocabulary_files = ({"vocab_file": MODEL_FILE}, {"tokenizer_file": JSON_FILE})


class XLMRobertaTokenizerFast(FastTokenizer, _XLMRobertaTokenizerBase):
    """transformers' fast tokenizer; its normalization differs from SentencePiece's for some combined characters."""

    vocabulary_files = (
        {"vocab_file": MODEL_FILE, "tokenizer_file": JSON_FILE},
        {"tokenizer_file": JSON_FILE},
        {"vocab_file": MODEL_FILE},
    )

    def _make_backend(self) -> Tokenizer:
        if self.tokenizer_file is not None:
            backend = Tokenizer.from_file(str(self.tokenizer_file))
            backend.no_padding()
            backend.no_truncation()
            return backend
        if not self.model.is_unigram:
            raise ConfigError(f"{type(self).__name__} supports unigram models only.", remedy="use XLMRobertaTokenizer.")
        scores = [*[0.0] * len(_FAIRSEQ_TOKENS), *self.model.scores[len(_SENTENCEPIECE_TYPES) :], 0.0]
        unk_id = _FAIRSEQ_TOKENS.index("<unk>")
        pieces = zip(_fairseq_pieces(self.model), scores, strict=True)
        return unigram_backend(pieces, unk_id, self.model.precompiled_charsmap)

    def _post_processor(self) -> processors.PostProcessor:
        first, last = self.cls_token, self.sep_token
        return processors.TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} {last} $B {last}",
            special_tokens=[(token, self.convert_tokens_to_ids(token)) for token in (first, last)],
        )


def _fairseq_pieces(model: SentencePieceModel) -> list[str]:
    """Return the pieces in the order of their ids."""
    return [*_FAIRSEQ_TOKENS, *model.pieces[len(_SENTENCEPIECE_TYPES) :], "<mask>"]


def _read_model(path: str | os.PathLike) -> SentencePieceModel:
    """Read a model whose first pieces are the unknown piece and two control pieces.

    Raises:
        ConfigError: the file is not a SentencePiece model, or its first pieces are others.
    """
    model = SentencePieceModel.read(path)
    first = model.pieces[: len(_SENTENCEPIECE_TYPES)]
    if tuple(model.type_of(index) for index in range(len(first))) != _SENTENCEPIECE_TYPES:
        raise ConfigError(
            "The SentencePiece model is not one of XLM-RoBERTa.",
            where=path,
            problems=[f"its first pieces are {', '.join(map(repr, first))}"],
            expected="<unk>, <s>, </s>",
        )
    return model


def _read_json_model(path: str | os.PathLike) -> SentencePieceModel:
    """Restore the SentencePiece model that a `tokenizer.json` was converted from.

    Raises:
        ConfigError: the file does not contain a unigram vocabulary of XLM-RoBERTa.
    """
    content = read_json(path)
    vocabulary = content.get("model", {}).get("vocab")
    first = [piece for piece, _ in vocabulary[: len(_FAIRSEQ_TOKENS)]] if isinstance(vocabulary, list) else []
    if first != list(_FAIRSEQ_TOKENS) or vocabulary[-1][0] != "<mask>":
        raise ConfigError(
            "The tokenizer.json does not contain a unigram model of XLM-RoBERTa.",
            where=path,
            expected=f"a list of pieces from {', '.join(_FAIRSEQ_TOKENS)} to <mask>",
        )
    normalizer = content.get("normalizer") or {}
    parts = normalizer.get("normalizers", [normalizer])
    charsmap = next((part["precompiled_charsmap"] for part in parts if part.get("type") == "Precompiled"), "")
    specials = zip(("<unk>", "<s>", "</s>"), (0.0, 0.0, 0.0), _SENTENCEPIECE_TYPES, strict=True)
    pieces = ((piece, score, PieceType.NORMAL) for piece, score in vocabulary[len(_FAIRSEQ_TOKENS) : -1])
    return SentencePieceModel.from_pieces([*specials, *pieces], base64.b64decode(charsmap))
