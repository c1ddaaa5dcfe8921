"""XLM-RoBERTa's SentencePiece tokenizers, on the `tokenizers` library; ids equal those of the original library."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram

from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.files import replace_file
from ppdiffusers.transformers.tokenization_utils import FastTokenizer, PretrainedTokenizer
from ppdiffusers.transformers.xlm_roberta.sentencepiece_model import (
    CONTROL,
    NORMAL,
    SPACE,
    UNKNOWN,
    SentencePieceModel,
)

MODEL_FILE, JSON_FILE = "sentencepiece.bpe.model", "tokenizer.json"
# Before the pieces of SentencePiece stand fairseq's four; SentencePiece's own first three are left out.
_FIRST = ("<s>", "<pad>", "</s>", "<unk>")
_OWN = 3
_UNREACHABLE = "\U0010ffff"  # no character: pieces that begin with it are never found in a text


class _XLMRobertaTokenizerBase(PretrainedTokenizer):
    """What both tokenizers share.

    Args:
        vocab_file: a SentencePiece model (`sentencepiece.bpe.model`).
        tokenizer_file: the same as a `tokenizer.json`.
        bos_token, eos_token, sep_token, cls_token, unk_token, pad_token, mask_token: texts, `AddedToken`s or their
            dictionaries.
        model_max_length, additional_special_tokens, added_tokens_decoder, padding_side, truncation_side: as for
            `PretrainedTokenizer`.
    """

    special_names = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    first_token, last_token = "cls_token", "sep_token"

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        tokenizer_file: str | os.PathLike | None = None,
        bos_token: Any = "<s>",
        eos_token: Any = "</s>",
        sep_token: Any = "</s>",
        cls_token: Any = "<s>",
        unk_token: Any = "<unk>",
        pad_token: Any = "<pad>",
        mask_token: Any = "<mask>",
        model_max_length: int | None = None,
        additional_special_tokens: Iterable[Any] | None = None,
        added_tokens_decoder: Mapping[int, Any] | None = None,
        clean_up_tokenization_spaces: bool = False,
        padding_side: str = "right",
        truncation_side: str = "right",
        **kwargs: Any,
    ):
        if vocab_file is None and tokenizer_file is None:
            raise ConfigError("An XLM-RoBERTa tokenizer needs vocab_file or tokenizer_file.")
        self.tokenizer_file = tokenizer_file
        self.model_bytes = None if vocab_file is None else Path(vocab_file).read_bytes()
        self.model = _from_json(tokenizer_file) if vocab_file is None else SentencePieceModel.read(vocab_file)
        pieces = [*_FIRST, *(text for text, _, _ in self.model.pieces[_OWN:]), "<mask>"]
        super().__init__(
            {piece: index for index, piece in enumerate(pieces)},
            {
                "bos_token": bos_token,
                "eos_token": eos_token,
                "unk_token": unk_token,
                "sep_token": sep_token,
                "pad_token": pad_token,
                "cls_token": cls_token,
                "mask_token": mask_token,
            },
            model_max_length,
            additional_special_tokens,
            added_tokens_decoder,
            clean_up_tokenization_spaces,
            padding_side,
            truncation_side,
        )

    def _special(self, name: str, token: Any) -> AddedToken:
        if name == "mask_token" and isinstance(token, str):
            return AddedToken(token, lstrip=True, normalized=False, special=True)  # takes the space before it along
        return super()._special(name, token)

    def _scores(self) -> list[float]:
        """Of all pieces but `<mask>`."""
        return [0.0] * len(_FIRST) + [score for _, score, _ in self.model.pieces[_OWN:]]

    def _save_vocabulary(self, folder: Path) -> None:
        with replace_file(folder / MODEL_FILE) as staging:
            staging.write_bytes(self.model.to_bytes() if self.model_bytes is None else self.model_bytes)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return "".join(tokens).replace(SPACE, " ").strip()


class XLMRobertaTokenizer(_XLMRobertaTokenizerBase):
    """The tokenizer that published AltDiffusion folders name: SentencePiece's own rules to the letter."""

    vocabulary_files = ({"vocab_file": MODEL_FILE}, {"tokenizer_file": JSON_FILE})

    def _look_up(self) -> None:
        super()._look_up()
        self.backend = self._make_backend()

    def _make_backend(self) -> Tokenizer:
        """Finds the most probable pieces of normalised text; control pieces cannot be written."""
        names = [*_FIRST, *(text for text, _, _ in self.model.pieces[_OWN:])]
        kinds = [CONTROL] * len(_FIRST) + [kind for _, _, kind in self.model.pieces[_OWN:]]
        pieces = [
            (name if kind == NORMAL else _UNREACHABLE + name, score)
            for name, score, kind in zip(names, self._scores(), kinds)
        ]
        return Tokenizer(Unigram(pieces, unk_id=_FIRST.index("<unk>")))

    def _ids_of_plain(self, text: str) -> list[int]:
        line = self.model.normalize(text)
        return self.backend.encode(line, add_special_tokens=False).ids if line else []


class XLMRobertaTokenizerFast(FastTokenizer, _XLMRobertaTokenizerBase):
    """The original library's fast tokenizer; it replaces some combined characters otherwise than SentencePiece."""

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
        pieces = [*zip(self.encoder, [*self._scores(), 0.0])]
        backend = Tokenizer(Unigram(pieces, unk_id=_FIRST.index("<unk>")))
        spaces = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), SPACE)]
        charsmap = [normalizers.Precompiled(self.model.charsmap)] if self.model.charsmap else []
        backend.normalizer = normalizers.Sequence([*charsmap, *spaces])
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
        backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
        return backend

    def _post_processor(self) -> processors.PostProcessor:
        first, last = self.cls_token, self.sep_token
        return processors.TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} {last} $B {last}",
            special_tokens=[(token, self.convert_tokens_to_ids(token)) for token in (first, last)],
        )


def _from_json(path: str | os.PathLike) -> SentencePieceModel:
    """The model that a `tokenizer.json` was made of.

    Raises:
        ConfigError: it holds no unigram vocabulary of XLM-RoBERTa's form.
    """
    read = read_json(path)
    vocabulary = read.get("model", {}).get("vocab")
    is_unigram = isinstance(vocabulary, list) and [piece for piece, _ in vocabulary[: len(_FIRST)]] == list(_FIRST)
    if not is_unigram or vocabulary[-1][0] != "<mask>":
        raise ConfigError(
            "This tokenizer.json holds no unigram model of XLM-RoBERTa.",
            where=path,
            expected=f"a list of pieces from {', '.join(_FIRST)} to <mask>",
        )
    normalizer = read.get("normalizer") or {}
    parts = normalizer.get("normalizers", [normalizer])
    charsmap = next((part["precompiled_charsmap"] for part in parts if part.get("type") == "Precompiled"), "")
    own = (("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL))
    rest = ((piece, score, NORMAL) for piece, score in vocabulary[len(_FIRST) : -1])
    return SentencePieceModel((*own, *rest), base64.b64decode(charsmap))
