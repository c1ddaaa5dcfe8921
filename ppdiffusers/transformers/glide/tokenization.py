"""GLIDE's tokenizer: GPT-2's byte-level BPE of lower-case text, without special tokens around it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import regex
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_json
from ppdiffusers.transformers.byte_level_bpe import byte_symbols, check_merges, read_merges, write_merges
from ppdiffusers.transformers.tokenization_utils import (
    PretrainedTokenizer,
    TokenLike,
    check_vocabulary,
    write_json,
)

END = "<|endoftext|>"
_WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


class GlideTokenizer(PretrainedTokenizer):
    """Tokenize prompts of GLIDE; the end token, which is the last one of the vocabulary, pads them.

    Args:
        merges_file: the merge rules: GPT-2's `merges.txt`, which is `vocab.bpe.gz` in OpenAI's repository.
        vocab_file: the vocabulary (JSON); by default it follows from the merges: bytes, merged tokens, the end token.
        unk_token, bos_token, eos_token, pad_token: see `TokenLike`; only the padding token has an effect.
        model_max_length: number of tokens that the text encoder has positions for.
        added_tokens_decoder, clean_up_tokenization_spaces, padding_side, truncation_side: see `PretrainedTokenizer`.
        additional_special_tokens: see `PretrainedTokenizer`.

    Raises:
        ConfigError: the vocabulary lacks bytes, so that some texts would have no tokens, or merge rules do not fit it.
    """

    first_token = last_token = None
    vocabulary_files = ({"vocab_file": "vocab.json", "merges_file": "merges.txt"}, {"merges_file": "merges.txt"})

    def __init__(
        self,
        merges_file: str | os.PathLike,
        vocab_file: str | os.PathLike | None = None,
        unk_token: TokenLike = END,
        bos_token: TokenLike = END,
        eos_token: TokenLike = END,
        pad_token: TokenLike = END,
        model_max_length: float = 128,
        additional_special_tokens: Iterable[TokenLike] | None = None,
        added_tokens_decoder: Mapping[int, TokenLike] | None = None,
        clean_up_tokenization_spaces: bool = False,
        padding_side: str = "right",
        truncation_side: str = "right",
    ):
        self.merges = read_merges(merges_file)
        super().__init__(
            self._vocabulary_from(vocab_file, merges_file),
            {"bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token},
            model_max_length,
            additional_special_tokens,
            added_tokens_decoder,
            clean_up_tokenization_spaces,
            padding_side,
            truncation_side,
        )
        self._backend = Tokenizer(BPE(vocab=self.encoder, merges=self.merges))
        self._backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def _vocabulary_from(self, file: str | os.PathLike | None, merges_file: str | os.PathLike) -> dict[str, int]:
        symbols = byte_symbols()
        if file is None:
            tokens = [*symbols.values(), *map("".join, self.merges), END]
            return {token: index for index, token in enumerate(tokens)}
        vocabulary = check_vocabulary(read_json(file), file)
        missing = [f"byte {byte:#04x} ({symbol})" for byte, symbol in symbols.items() if symbol not in vocabulary]
        if missing:
            raise ConfigError(
                "The vocabulary lacks bytes: texts with them have no tokens.",
                where=file,
                problems=missing[:20],
                expected="a byte-level vocabulary, such as GPT-2's, which has all 256 bytes",
            )
        check_merges(self.merges, vocabulary, merges_file)
        return vocabulary

    def _save_vocabulary(self, folder: Path) -> None:
        write_json(folder / "vocab.json", self.encoder)
        write_merges(folder / "merges.txt", self.merges)

    def _encode_text(self, text: str) -> list[int]:
        # as in the original, the text "<|endoftext|>" is not the end token
        words = _WORDS.findall(text.lower())
        return self._backend.encode(words, is_pretokenized=True, add_special_tokens=False).ids if words else []

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        byte_of = {symbol: byte for byte, symbol in byte_symbols().items()}
        return bytes(byte_of[symbol] for token in tokens for symbol in token).decode("utf-8", errors="replace")

    def padded_tokens_and_mask(self, tokens: list[int], text_ctx: int) -> tuple[list[int], list[bool]]:
        """Truncate or pad ids to `text_ctx`; the mask is True for tokens, as in OpenAI's repository."""
        kept = tokens[:text_ctx]
        padding = text_ctx - len(kept)
        return [*kept, *[self.pad_token_id] * padding], [True] * len(kept) + [False] * padding
