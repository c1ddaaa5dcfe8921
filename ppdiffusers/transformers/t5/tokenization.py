"""T5's SentencePiece tokenizers; ids are equal to those of transformers. mT5's are the same."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_json
from ppdiffusers.transformers.sentencepiece_model import SPACE, PieceType, SentencePieceModel
from ppdiffusers.transformers.sentencepiece_tokenizer import SentencePieceTokenizer, unigram_backend
from ppdiffusers.transformers.tokenization_utils import FastTokenizer, TokenLike, token_content

MODEL_FILE, JSON_FILE = "spiece.model", "tokenizer.json"
_SENTINEL = re.compile(r"<extra_id_\d+>")


class _T5TokenizerBase(SentencePieceTokenizer):
    """Files and special tokens of both tokenizers.

    Sentinel tokens `<extra_id_0>`, `<extra_id_1>`, ... have the ids after those of the SentencePiece model, in reverse
    order.

    Args:
        vocab_file: a SentencePiece model (`spiece.model`).
        tokenizer_file: a `tokenizer.json`, read if `vocab_file` is not given.
        eos_token, unk_token, pad_token: see `TokenLike`.
        extra_ids: number of sentinel tokens.
        additional_special_tokens: further special tokens; if it contains sentinel tokens, it must contain `extra_ids`.
        legacy: see `SentencePieceTokenizer`; True by default.
        add_prefix_space: see `SentencePieceTokenizer`.
        model_max_length, added_tokens_decoder, clean_up_tokenization_spaces, padding_side, truncation_side: see
            `PretrainedTokenizer`.

    Raises:
        ConfigError: there is no vocabulary, it is not one of T5, or the sentinel tokens are not `extra_ids`.
    """

    special_names = ("eos_token", "unk_token", "pad_token")
    first_token, last_token = None, "eos_token"
    model_file = MODEL_FILE

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        tokenizer_file: str | os.PathLike | None = None,
        eos_token: TokenLike = "</s>",
        unk_token: TokenLike = "<unk>",
        pad_token: TokenLike = "<pad>",
        extra_ids: int = 100,
        additional_special_tokens: Iterable[TokenLike] | None = None,
        legacy: bool | None = None,
        add_prefix_space: bool = True,
        added_tokens_decoder: Mapping[int, TokenLike] | None = None,
        **settings: Any,
    ):
        if vocab_file is None and tokenizer_file is None:
            raise ConfigError("A T5 tokenizer needs vocab_file or tokenizer_file.")
        self.tokenizer_file, self.extra_ids = tokenizer_file, extra_ids
        model = _read_json_model(tokenizer_file) if vocab_file is None else SentencePieceModel.read(vocab_file)
        extra = list(additional_special_tokens) if additional_special_tokens is not None else _sentinels(extra_ids)
        sentinels = [token for token in extra if _SENTINEL.fullmatch(token_content(token) or "")]
        if sentinels and extra_ids > 0 and len(sentinels) != extra_ids:
            raise ConfigError(
                f"additional_special_tokens contains {len(sentinels)} sentinel tokens, and extra_ids is {extra_ids}.",
                expected="as many sentinel tokens as extra_ids, or none of them",
            )
        decoder = self._sentinel_ids(len(model.pieces), len(sentinels))
        if not sentinels:
            extra += _sentinels(extra_ids)
        super().__init__(
            model,
            {"eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token},
            self._ids_of_pieces(model),
            legacy=legacy is not False,
            add_prefix_space=add_prefix_space,
            additional_special_tokens=extra,
            added_tokens_decoder={**decoder, **(added_tokens_decoder or {})},
            **settings,
        )

    def _ids_of_pieces(self, model: SentencePieceModel) -> dict[str, int]:
        return {piece: index for index, piece in enumerate(model.pieces)}

    def _sentinel_ids(self, first: int, count: int) -> dict[int, AddedToken]:
        """Return id -> token of the sentinel tokens, whose ids start at `first`."""
        flags = {"lstrip": True, "rstrip": True, "normalized": False, "special": True}
        return {first + self.extra_ids - 1 - n: AddedToken(f"<extra_id_{n}>", **flags) for n in range(count)}

    def get_sentinel_tokens(self) -> list[str]:
        """Return the sentinel tokens."""
        return [token for token in self.additional_special_tokens if _SENTINEL.search(token)]

    def get_sentinel_token_ids(self) -> list[int]:
        """Return the ids of the sentinel tokens."""
        return self.convert_tokens_to_ids(self.get_sentinel_tokens())

    @classmethod
    def _config_keys(cls) -> set[str]:
        return super()._config_keys() | {"extra_ids", "legacy", "add_prefix_space"}

    def _extra_config(self) -> dict[str, Any]:
        return {"extra_ids": self.extra_ids, "legacy": self.legacy, "add_prefix_space": self.add_prefix_space}


class T5Tokenizer(_T5TokenizerBase):
    """The tokenizer of released models."""

    vocabulary_files = ({"vocab_file": MODEL_FILE}, {"tokenizer_file": JSON_FILE})

    def _add_special_tokens(self, ids: list[int], prefix: list[int], suffix: list[int]) -> list[int]:
        """Add the end of the text, unless the text has it already."""
        return ids if ids and ids[-1] == self.eos_token_id else [*ids, *suffix]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens into a text; special tokens are unchanged."""
        special, text, pending = self.all_special_tokens, "", []
        previous_is_special = False
        if tokens and tokens[0].startswith(SPACE) and self.add_prefix_space:
            tokens = [tokens[0][1:], *tokens[1:]]
        for token in tokens:
            if token not in special:
                pending.append(token)
                previous_is_special = False
                continue
            text += ("" if previous_is_special else " ") + self.model.decode(pending) + token
            pending, previous_is_special = [], True
        return (text + self.model.decode(pending)).strip()


class T5TokenizerFast(FastTokenizer, _T5TokenizerBase):
    """transformers' fast tokenizer; its normalization differs from SentencePiece's for some combined characters."""

    vocabulary_files = (
        {"vocab_file": MODEL_FILE, "tokenizer_file": JSON_FILE},
        {"tokenizer_file": JSON_FILE},
        {"vocab_file": MODEL_FILE},
    )

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        tokenizer_file: str | os.PathLike | None = None,
        add_prefix_space: bool | None = None,
        **settings: Any,
    ):
        if vocab_file is not None and add_prefix_space is not None:
            tokenizer_file = None  # it may have another setting; as in transformers
        super().__init__(vocab_file, tokenizer_file, add_prefix_space=add_prefix_space is not False, **settings)

    def _ids_of_pieces(self, model: SentencePieceModel) -> dict[str, int]:
        pieces = [*model.pieces, *reversed(_sentinels(self.extra_ids))]
        return {piece: index for index, piece in enumerate(pieces)}

    def _sentinel_ids(self, first: int, count: int) -> dict[int, AddedToken]:
        return {}  # they are in the vocabulary, without the flags that remove spaces around them

    def _make_backend(self) -> Tokenizer:
        if self.tokenizer_file is not None:
            backend = Tokenizer.from_file(str(self.tokenizer_file))
            backend.no_padding()
            backend.no_truncation()
            return backend
        if not self.model.is_unigram:
            raise ConfigError(f"{type(self).__name__} supports unigram models only.", remedy="use T5Tokenizer.")
        scores = [*self.model.scores, *[0.0] * self.extra_ids]
        pieces = zip(self.encoder, scores, strict=True)
        scheme = "never" if not self.add_prefix_space else "always" if self.legacy else "first"
        backend = unigram_backend(pieces, self.model.unk_id, self.model.precompiled_charsmap, scheme)
        controls = [n for n in range(len(self.model.pieces)) if self.model.type_of(n) == PieceType.CONTROL]
        backend.add_tokens([AddedToken(self.model.pieces[n], normalized=False, special=True) for n in controls])
        backend.add_tokens([AddedToken(piece, normalized=False) for piece in self.model.user_defined_pieces])
        return backend

    def _post_processor(self) -> processors.PostProcessor:
        return processors.TemplateProcessing(
            single=["$A", self.eos_token],
            pair=["$A", self.eos_token, "$B", self.eos_token],
            special_tokens=[(self.eos_token, self.eos_token_id)],
        )


def _sentinels(count: int) -> list[TokenLike]:
    return [f"<extra_id_{n}>" for n in range(count)]


def _read_json_model(path: str | os.PathLike) -> SentencePieceModel:
    """Restore the SentencePiece model that a `tokenizer.json` was converted from, without sentinel tokens.

    Raises:
        ConfigError: the file does not contain a unigram vocabulary with an unknown piece.
    """
    content = read_json(path)
    model = content.get("model", {})
    vocabulary, unk_id = model.get("vocab"), model.get("unk_id")
    if not isinstance(vocabulary, list) or not isinstance(unk_id, int) or not 0 <= unk_id < len(vocabulary):
        raise ConfigError(
            "The tokenizer.json does not contain a unigram model of T5.",
            where=path,
            expected='"model" with "vocab", a list of pieces and scores, and "unk_id"',
        )
    while vocabulary and _SENTINEL.fullmatch(str(vocabulary[-1][0])):
        vocabulary = vocabulary[:-1]
    special = {token["content"] for token in content.get("added_tokens", ()) if token.get("special")}
    normalizer = content.get("normalizer") or {}
    parts = normalizer.get("normalizers", [normalizer])
    charsmap = next((part["precompiled_charsmap"] for part in parts if part.get("type") == "Precompiled"), "")

    def type_of(index: int, piece: str) -> PieceType:
        if index == unk_id:
            return PieceType.UNKNOWN
        return PieceType.CONTROL if piece in special else PieceType.NORMAL

    pieces = [(piece, score, type_of(n, piece)) for n, (piece, score) in enumerate(vocabulary)]
    return SentencePieceModel.from_pieces(pieces, base64.b64decode(charsmap or ""))
