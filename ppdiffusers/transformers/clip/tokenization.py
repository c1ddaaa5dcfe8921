"""CLIP's byte-level BPE tokenizers; ids are equal to those of transformers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ftfy
import regex
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_json
from ppdiffusers.transformers.byte_level_bpe import byte_symbols, check_merges, merge_pair, read_merges, write_merges
from ppdiffusers.transformers.tokenization_utils import (
    FastTokenizer,
    PretrainedTokenizer,
    TokenLike,
    check_vocabulary,
    to_added_token,
    write_json,
)

if TYPE_CHECKING:
    from typing_extensions import Self

_OPENAI_MERGES = Path(__file__).with_name("merges.txt.gz")  # see NOTICE
_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# The slow tokenizer splits words with Python's `regex` module, ignoring case. The regex engine of `tokenizers` has an
# older Unicode table, in which some characters (U+30EDE, for example) are not letters.
_SPECIAL_TOKENS = ("<|startoftext|>", "<|endoftext|>")
_WORDS = regex.compile("|".join(map(re.escape, _SPECIAL_TOKENS)) + "|" + _PATTERN, regex.IGNORECASE)
_SPACES = regex.compile(r"\s+")
_MAX_MERGES = 49152 - 256 - 2  # CLIP's merges.txt has more rules than its vocabulary uses


class _CLIPTokenizerBase(PretrainedTokenizer):
    """Files, special tokens and decoding of both tokenizers.

    Args:
        vocab_file, merges_file: BPE vocabulary (JSON) and merges (one rule per line); without `vocab_file`, the
            vocabulary follows from the merges, as that of CLIP does.
        tokenizer_file: a `tokenizer.json`, read if the two other files are not given.
        unk_token, bos_token, eos_token, pad_token: see `TokenLike`.
        model_max_length, additional_special_tokens, added_tokens_decoder, clean_up_tokenization_spaces, padding_side,
            truncation_side: see `PretrainedTokenizer`.
    """

    vocabulary_files = (
        {"vocab_file": "vocab.json", "merges_file": "merges.txt"},
        {"tokenizer_file": "tokenizer.json"},
    )

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        merges_file: str | os.PathLike | None = None,
        tokenizer_file: str | os.PathLike | None = None,
        unk_token: TokenLike = "<|endoftext|>",
        bos_token: TokenLike = "<|startoftext|>",
        eos_token: TokenLike = "<|endoftext|>",
        pad_token: TokenLike = "<|endoftext|>",
        model_max_length: float = 77,
        additional_special_tokens: Iterable[TokenLike] | None = None,
        added_tokens_decoder: Mapping[int, TokenLike] | None = None,
        clean_up_tokenization_spaces: bool = False,
        padding_side: str = "right",
        truncation_side: str = "right",
        **kwargs: Any,
    ):
        vocabulary, self.merges = _read_bpe(vocab_file, merges_file, tokenizer_file)
        super().__init__(
            vocabulary,
            {"bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token},
            model_max_length,
            additional_special_tokens,
            added_tokens_decoder,
            clean_up_tokenization_spaces,
            padding_side,
            truncation_side,
        )

    @classmethod
    def openai(cls, **settings: Any) -> Self:
        """Return the tokenizer of OpenAI's CLIP, which Stable Diffusion 1, 2 and XL have, without any other file.

        Args:
            settings: such as `pad_token="!"`, for Stable Diffusion 2 and for the second tokenizer of XL.
        """
        return cls(merges_file=_OPENAI_MERGES, **settings)

    def _special_token(self, name: str, token: TokenLike) -> AddedToken:
        # as in transformers: all but the padding token are matched in the normalized text too
        return to_added_token(token, normalized=name != "pad_token", special=True)

    def _extra_config(self) -> dict[str, Any]:
        return {"add_prefix_space": False, "do_lower_case": True, "errors": "replace"}

    def _save_vocabulary(self, folder: Path) -> None:
        write_json(folder / "vocab.json", self.encoder)
        write_merges(folder / "merges.txt", self.merges)

    def _update_lookup(self) -> None:
        super()._update_lookup()
        self._byte_of = {symbol: byte for byte, symbol in byte_symbols().items()}

    def _make_backend(self) -> Tokenizer:
        """Create the `tokenizers` object for BPE."""
        backend = Tokenizer(
            BPE(
                vocab=self.encoder,
                merges=self.merges,
                unk_token=self.unk_token if self.unk_token in self.encoder else None,
                continuing_subword_prefix="",
                end_of_word_suffix="</w>",
                fuse_unk=False,
            )
        )
        backend.decoder = decoders.ByteLevel()
        return backend

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        joined = "".join(tokens)
        data = bytearray()
        for symbol in joined:
            data += bytes([self._byte_of[symbol]]) if symbol in self._byte_of else symbol.encode("utf-8")
        return data.decode("utf-8", errors="replace").replace("</w>", " ").strip()


class CLIPTokenizer(_CLIPTokenizerBase):
    """The tokenizer of released Stable Diffusion models: ftfy, lower case, BPE."""

    def _update_lookup(self) -> None:
        super()._update_lookup()
        self.backend = self._make_backend()

    def _make_backend(self) -> Tokenizer:
        backend = super()._make_backend()  # its input is split into words already
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return backend

    def _encode_segment(self, text: str) -> list[int]:
        text = _SPACES.sub(" ", ftfy.fix_text(text)).strip().lower()
        ids: list[int] = []
        pending: list[str] = []
        for word in _WORDS.findall(text):
            if word in _SPECIAL_TOKENS:  # ftfy or lower case resulted in a special token
                ids += [*self._encode_words(pending), self.convert_tokens_to_ids(word)]
                pending = []
            else:
                pending.append(word)
        return ids + self._encode_words(pending)

    def _encode_words(self, words: list[str]) -> list[int]:
        if not words:
            return []
        return self.backend.encode(words, is_pretokenized=True, add_special_tokens=False).ids


class CLIPTokenizerFast(FastTokenizer, _CLIPTokenizerBase):
    """transformers' fast tokenizer: NFC, single spaces, lower case, BPE."""

    def _make_backend(self) -> Tokenizer:
        backend = super()._make_backend()
        backend.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_PATTERN), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        return backend

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return super()._decode(ids, skip_special_tokens).replace("</w>", " ").strip()

    def _post_processor(self) -> processors.PostProcessor:
        return processors.RobertaProcessing(
            sep=(self.eos_token, self.eos_token_id),
            cls=(self.bos_token, self.bos_token_id),
            add_prefix_space=False,
            trim_offsets=False,
        )


# -- helpers ----------------------------------------------------------------------------------------------------------


def _read_bpe(
    vocab_file: str | os.PathLike | None,
    merges_file: str | os.PathLike | None,
    tokenizer_file: str | os.PathLike | None,
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Read vocabulary and merges."""
    if merges_file is not None and (vocab_file is not None or tokenizer_file is None):
        merges = read_merges(merges_file, _MAX_MERGES)
        if vocab_file is None:
            return _vocabulary_of(merges), merges
        vocabulary = check_vocabulary(read_json(vocab_file), vocab_file)
        return vocabulary, check_merges(merges, vocabulary, merges_file)
    if tokenizer_file is None:
        raise ConfigError("A CLIP tokenizer needs vocab_file and merges_file, or tokenizer_file.")
    model = read_json(tokenizer_file).get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or not isinstance(model.get("merges"), list):
        raise ConfigError("The tokenizer.json does not contain a BPE model.", where=tokenizer_file)
    merges = [merge_pair(rule, tokenizer_file) for rule in model["merges"]]
    vocabulary = check_vocabulary(model.get("vocab"), tokenizer_file)
    return vocabulary, check_merges(merges, vocabulary, tokenizer_file)


def _vocabulary_of(merges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return CLIP's vocabulary: bytes, bytes that end a word, merged tokens, special tokens."""
    symbols = byte_symbols().values()
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *map("".join, merges), *_SPECIAL_TOKENS]
    return {token: index for index, token in enumerate(tokens)}
