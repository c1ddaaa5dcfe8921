"""BERT's WordPiece tokenizers (arXiv 1810.04805); ids are equal to those of transformers."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_json, read_text
from ppdiffusers.transformers.tokenization_utils import (
    FastTokenizer,
    PretrainedTokenizer,
    TokenLike,
    check_vocabulary,
    write_text,
)

_CONTINUATION = "##"  # prefix of pieces that continue a word
_MAX_WORD_LENGTH = 100  # longer words are unknown tokens
# CJK ideographs, which are separate words; without Kana and Hangul.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_SETTINGS = ("do_lower_case", "do_basic_tokenize", "never_split", "tokenize_chinese_chars", "strip_accents")


class _BertTokenizerBase(PretrainedTokenizer):
    """Files and settings of both tokenizers.

    Args:
        vocab_file: one token per line; its id is the line number.
        tokenizer_file: a `tokenizer.json`, read if `vocab_file` is not given.
        do_lower_case: convert texts to lower case.
        do_basic_tokenize: False splits texts at spaces only, without normalization (no effect on the fast tokenizer).
        never_split: words that are not normalized or split (no effect on the fast tokenizer).
        unk_token, sep_token, pad_token, cls_token, mask_token: see `TokenLike`.
        tokenize_chinese_chars: treat each CJK ideograph as a word.
        strip_accents: remove accents; None removes them if `do_lower_case`.
        model_max_length, additional_special_tokens, added_tokens_decoder, clean_up_tokenization_spaces, padding_side,
            truncation_side: see `PretrainedTokenizer`.
    """

    special_names = ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
    first_token, last_token = "cls_token", "sep_token"
    vocabulary_files = ({"vocab_file": "vocab.txt"}, {"tokenizer_file": "tokenizer.json"})

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        tokenizer_file: str | os.PathLike | None = None,
        do_lower_case: bool = True,
        do_basic_tokenize: bool = True,
        never_split: Iterable[str] | None = None,
        unk_token: TokenLike = "[UNK]",
        sep_token: TokenLike = "[SEP]",
        pad_token: TokenLike = "[PAD]",
        cls_token: TokenLike = "[CLS]",
        mask_token: TokenLike = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        model_max_length: float | None = None,
        additional_special_tokens: Iterable[TokenLike] | None = None,
        added_tokens_decoder: Mapping[int, TokenLike] | None = None,
        clean_up_tokenization_spaces: bool = True,
        padding_side: str = "right",
        truncation_side: str = "right",
    ):
        self.do_lower_case, self.do_basic_tokenize = do_lower_case, do_basic_tokenize
        self.never_split = None if never_split is None else sorted(set(never_split))
        self.tokenize_chinese_chars, self.strip_accents = tokenize_chinese_chars, strip_accents
        specials = (unk_token, sep_token, pad_token, cls_token, mask_token)
        super().__init__(
            _read_vocabulary(vocab_file, tokenizer_file),
            dict(zip(self.special_names, specials, strict=True)),
            model_max_length,
            additional_special_tokens,
            added_tokens_decoder,
            clean_up_tokenization_spaces,
            padding_side,
            truncation_side,
        )

    @classmethod
    def _config_keys(cls) -> set[str]:
        return super()._config_keys() | set(_SETTINGS)

    def _extra_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SETTINGS}

    def _save_vocabulary(self, folder: Path) -> None:
        lines = sorted(self.encoder, key=self.encoder.__getitem__)
        write_text(folder / "vocab.txt", "".join(token + "\n" for token in lines))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return " ".join(tokens).replace(f" {_CONTINUATION}", "").strip()


class BertTokenizer(_BertTokenizerBase):
    """The tokenizer of released models; classifies characters with Python's `unicodedata`."""

    def _update_lookup(self) -> None:
        super()._update_lookup()
        self._unsplit_words = {*self.all_special_tokens, *(self.never_split or ())}
        # special tokens, and added tokens that are matched in the normalized text, keep their case
        cased = [*self.all_special_tokens, *(t.content for t in self.added_tokens_decoder.values() if t.normalized)]
        self._cased_pattern = re.compile("(" + "|".join(map(re.escape, cased)) + ")|(.)")

    def _register_token(self, token: AddedToken) -> None:
        if self._lowers and token.normalized and not token.special:
            token.content = token.content.lower()  # it is matched in the lower-case text
        super()._register_token(token)

    def _encode_text(self, text: str) -> list[int]:
        if self._lowers:  # by character, as in transformers: a final sigma is not treated specially
            text = self._cased_pattern.sub(lambda match: match[1] or match[2].lower(), text)
        return super()._encode_text(text)

    @property
    def _lowers(self) -> bool:
        return self.do_lower_case and self.do_basic_tokenize

    def _encode_segment(self, text: str) -> list[int]:
        words = self._words(text) if self.do_basic_tokenize else text.split()
        pieces = (piece for word in words for piece in self._tokens_of_word(word))
        return [self.convert_tokens_to_ids(piece) for piece in pieces]

    def _tokens_of_word(self, word: str) -> list[str]:
        unsplit = self.do_basic_tokenize and word in self._unsplit_words
        return [word] if unsplit else self._word_pieces(word)

    def _words(self, text: str) -> Iterator[str]:
        """Split a text into words, ideographs and punctuation marks; apply lower case and accent stripping."""
        text = "".join(self._clean(char) for char in text)
        strip = self.do_lower_case if self.strip_accents is None else self.strip_accents
        for word in unicodedata.normalize("NFC", text).split():
            if word in self._unsplit_words:
                yield word
                continue
            word = word.lower() if self.do_lower_case else word
            if strip:
                word = "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")
            yield from "".join(f" {char} " if _is_punctuation(char) else char for char in word).split()

    def _clean(self, char: str) -> str:
        """Normalize spaces, remove control characters, surround ideographs with spaces."""
        if char in "\t\n\r" or unicodedata.category(char) == "Zs":
            return " "
        if char in "\0\ufffd" or unicodedata.category(char).startswith("C"):
            return ""
        is_word = self.tokenize_chinese_chars and any(first <= ord(char) <= last for first, last in _IDEOGRAPHS)
        return f" {char} " if is_word else char

    def _word_pieces(self, word: str) -> list[str]:
        """Split a word into pieces by greedy longest match; a word that has no complete split is unknown."""
        pieces: list[str] = []
        start = 0
        while start < len(word) <= _MAX_WORD_LENGTH:
            prefix = _CONTINUATION if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in self.encoder)
            end = next(ends, None)
            if end is None:
                break
            pieces.append(prefix + word[start:end])
            start = end
        return pieces if start == len(word) else [self.unk_token]


class BertTokenizerFast(FastTokenizer, _BertTokenizerBase):
    """transformers' fast tokenizer: the same rules, with the Unicode tables of the `tokenizers` library."""

    def _make_backend(self) -> Tokenizer:
        backend = Tokenizer(WordPiece({**self.encoder, self.unk_token: self.unk_token_id}, unk_token=self.unk_token))
        backend.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.tokenize_chinese_chars,
            strip_accents=self.strip_accents,
            lowercase=self.do_lower_case,
        )
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix=_CONTINUATION)
        return backend

    def _post_processor(self) -> processors.PostProcessor:
        cls, sep = self.cls_token, self.sep_token
        return processors.TemplateProcessing(
            single=f"{cls}:0 $A:0 {sep}:0",
            pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
            special_tokens=[(cls, self.cls_token_id), (sep, self.sep_token_id)],
        )


def _is_punctuation(char: str) -> bool:
    return char in _ASCII_PUNCTUATION or unicodedata.category(char).startswith("P")


def _read_vocabulary(vocab_file: str | os.PathLike | None, tokenizer_file: str | os.PathLike | None) -> dict[str, int]:
    """Read token -> id."""
    if vocab_file is not None:
        lines = read_text(vocab_file).split("\n")
        lines = lines[:-1] if lines and not lines[-1] else lines
        return {token.removesuffix("\r"): index for index, token in enumerate(lines)}
    if tokenizer_file is None:
        raise ConfigError("A BERT tokenizer needs vocab_file or tokenizer_file.")
    model = read_json(tokenizer_file).get("model")
    if not isinstance(model, dict) or model.get("type") != "WordPiece":
        raise ConfigError("The tokenizer.json does not contain a WordPiece model.", where=tokenizer_file)
    return check_vocabulary(model.get("vocab"), tokenizer_file)
