"""BERT's WordPiece tokenizers (arXiv 1810.04805); ids equal those of the original library."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.transformers.tokenization_utils import FastTokenizer, PretrainedTokenizer, write_text

_INSIDE = "##"  # begins the pieces that do not begin a word
_LONGEST_WORD = 100  # longer words are unknown
# Ideographs: each is a word. Kana and Hangul are not among them.
_CHINESE = (
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
    """What both tokenizers share: files and settings.

    Args:
        vocab_file: a token a line; its id is the line's number.
        tokenizer_file: the same in one `tokenizer.json`, used when `vocab_file` is not given.
        do_lower_case: texts are put into lower case.
        do_basic_tokenize: False: words are what stands between spaces, as it is (the fast tokenizer has no such mode).
        never_split: words that stay as they are (not in the fast tokenizer either).
        unk_token, sep_token, pad_token, cls_token, mask_token: texts, `AddedToken`s or their dictionaries.
        tokenize_chinese_chars: each ideograph is a word of its own.
        strip_accents: accents are taken off; None: with lower case they are.
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
        unk_token: Any = "[UNK]",
        sep_token: Any = "[SEP]",
        pad_token: Any = "[PAD]",
        cls_token: Any = "[CLS]",
        mask_token: Any = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        model_max_length: int | None = None,
        additional_special_tokens: Iterable[Any] | None = None,
        added_tokens_decoder: Mapping[int, Any] | None = None,
        clean_up_tokenization_spaces: bool = True,
        padding_side: str = "right",
        truncation_side: str = "right",
    ):
        self.do_lower_case, self.do_basic_tokenize = do_lower_case, do_basic_tokenize
        self.never_split = None if never_split is None else sorted(set(never_split))
        self.tokenize_chinese_chars, self.strip_accents = tokenize_chinese_chars, strip_accents
        given = (unk_token, sep_token, pad_token, cls_token, mask_token)
        super().__init__(
            _read_vocabulary(vocab_file, tokenizer_file),
            dict(zip(self.special_names, given, strict=True)),
            model_max_length,
            additional_special_tokens,
            added_tokens_decoder,
            clean_up_tokenization_spaces,
            padding_side,
            truncation_side,
        )

    @classmethod
    def _settings(cls) -> set[str]:
        return super()._settings() | set(_SETTINGS)

    def _more_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _SETTINGS}

    def _save_vocabulary(self, folder: Path) -> None:
        lines = sorted(self.encoder, key=self.encoder.__getitem__)
        write_text(folder / "vocab.txt", "".join(token + "\n" for token in lines))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return " ".join(tokens).replace(f" {_INSIDE}", "").strip()


class BertTokenizer(_BertTokenizerBase):
    """The tokenizer that published folders name; characters are what Python's `unicodedata` says."""

    def _look_up(self) -> None:
        super()._look_up()
        # upper case survives in special tokens and in added ones that are looked for in the normalised text
        self._whole_words = {*self.all_special_tokens, *(self.never_split or ())}
        kept = [*self.all_special_tokens, *(t.content for t in self.added_tokens_decoder.values() if t.normalized)]
        self._kept_case = re.compile("(" + "|".join(map(re.escape, kept)) + ")|(.)")

    def _mark(self, token: AddedToken) -> None:
        if self._lowers and token.normalized and not token.special:
            token.content = token.content.lower()  # texts are in lower case when it is looked for
        super()._mark(token)

    def _ids(self, text: str) -> list[int]:
        if self._lowers:  # character by character, as the original does it: a final sigma is no other letter
            text = self._kept_case.sub(lambda found: found[1] or found[2].lower(), text)
        return super()._ids(text)

    @property
    def _lowers(self) -> bool:
        return self.do_lower_case and self.do_basic_tokenize

    def _ids_of_plain(self, text: str) -> list[int]:
        words = self._words(text) if self.do_basic_tokenize else text.split()
        pieces = (piece for word in words for piece in self._tokens_of_word(word))
        return [self.convert_tokens_to_ids(piece) for piece in pieces]

    def _tokens_of_word(self, word: str) -> list[str]:
        kept = self.do_basic_tokenize and word in self._whole_words
        return [word] if kept else self._word_pieces(word)

    def _words(self, text: str) -> Iterator[str]:
        """Words, ideographs and punctuation marks, in lower case and without accents if so set."""
        text = "".join(self._cleaned(char) for char in text)
        strip = self.do_lower_case if self.strip_accents is None else self.strip_accents
        for word in unicodedata.normalize("NFC", text).split():
            if word in self._whole_words:
                yield word
                continue
            word = word.lower() if self.do_lower_case else word
            if strip:
                word = "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")
            yield from "".join(f" {char} " if _is_punctuation(char) else char for char in word).split()

    def _cleaned(self, char: str) -> str:
        """Spaces around ideographs, one kind of space, no control characters."""
        if char in "\t\n\r" or unicodedata.category(char) == "Zs":
            return " "
        if char in "\0\ufffd" or unicodedata.category(char).startswith("C"):
            return ""
        chinese = self.tokenize_chinese_chars and any(first <= ord(char) <= last for first, last in _CHINESE)
        return f" {char} " if chinese else char

    def _word_pieces(self, word: str) -> list[str]:
        """The longest piece of the vocabulary first, then the longest of the rest; unknown if a rest is left."""
        pieces: list[str] = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            prefix = _INSIDE if start else ""
            ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in self.encoder)
            end = next(ends, None)
            if end is None:
                break
            pieces.append(prefix + word[start:end])
            start = end
        return pieces if start == len(word) else [self.unk_token]


class BertTokenizerFast(FastTokenizer, _BertTokenizerBase):
    """The original library's fast tokenizer: the same rules in the `tokenizers` library, with its Unicode tables."""

    def _make_backend(self) -> Tokenizer:
        backend = Tokenizer(WordPiece(self.encoder, unk_token=self.unk_token))
        backend.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.tokenize_chinese_chars,
            strip_accents=self.strip_accents,
            lowercase=self.do_lower_case,
        )
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix=_INSIDE)
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


def _read_vocabulary(vocab_file: str | os.PathLike | None, tokenizer_file: Any) -> dict[str, int]:
    if vocab_file is not None:
        lines = Path(vocab_file).read_text(encoding="utf-8").split("\n")
        lines = lines[:-1] if lines and not lines[-1] else lines
        return {token.removesuffix("\r"): index for index, token in enumerate(lines)}
    if tokenizer_file is None:
        raise ConfigError("A BERT tokenizer needs vocab_file or tokenizer_file.")
    model = read_json(tokenizer_file).get("model", {})
    if model.get("type") != "WordPiece" or "vocab" not in model:
        raise ConfigError("This tokenizer.json holds no WordPiece model.", where=tokenizer_file)
    return dict(model["vocab"])
