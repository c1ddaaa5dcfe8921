"""CLIP's byte-level BPE tokenizers, on the `tokenizers` library; ids equal those of the original library."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ftfy
import regex
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import ConfigError
from ppdiffusers.transformers.tokenization_utils import (
    FastTokenizer,
    PretrainedTokenizer,
    as_added,
    write_json,
    write_text,
)

_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# The slow tokenizer's words are those of Python's `regex`, case ignored: the engine inside `tokenizers` knows an older
# Unicode, where for instance the character of biang noodles is no letter yet.
_CASED_OUT = ("<|startoftext|>", "<|endoftext|>")
_WORDS = regex.compile("|".join(map(re.escape, _CASED_OUT)) + "|" + _PATTERN, regex.IGNORECASE)
_SPACES = regex.compile(r"\s+")


class _CLIPTokenizerBase(PretrainedTokenizer):
    """What both tokenizers share: files, special tokens, padding, decoding.

    Args:
        vocab_file, merges_file: BPE vocabulary (JSON) and merges (a rule a line).
        tokenizer_file: the same in one `tokenizer.json`, used when the two are not given.
        unk_token, bos_token, eos_token, pad_token: texts, `AddedToken`s or their dictionaries.
        model_max_length: texts are padded and cut to it.
        additional_special_tokens: further tokens that `skip_special_tokens` leaves out.
        added_tokens_decoder: id -> token that is found whole in texts, before anything else.
        padding_side, truncation_side: "right" or "left".
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
        unk_token: Any = "<|endoftext|>",
        bos_token: Any = "<|startoftext|>",
        eos_token: Any = "<|endoftext|>",
        pad_token: Any = "<|endoftext|>",
        model_max_length: int = 77,
        additional_special_tokens: Iterable[Any] | None = None,
        added_tokens_decoder: Mapping[int, Any] | None = None,
        clean_up_tokenization_spaces: bool = False,
        padding_side: str = "right",
        truncation_side: str = "right",
        **kwargs: Any,
    ):
        vocabulary, self.merges = _read_bpe(vocab_file, merges_file, tokenizer_file)
        given = {"bos_token": bos_token, "eos_token": eos_token, "unk_token": unk_token, "pad_token": pad_token}
        super().__init__(
            vocabulary,
            given,
            model_max_length,
            additional_special_tokens,
            added_tokens_decoder,
            clean_up_tokenization_spaces,
            padding_side,
            truncation_side,
        )

    def _special(self, name: str, token: Any) -> AddedToken:
        # as the original does it: the first three are looked for in the normalised text too
        return as_added(token, normalized=name != "pad_token", special=True)

    def _more_config(self) -> dict[str, Any]:
        return {"add_prefix_space": False, "do_lower_case": True, "errors": "replace"}

    def _save_vocabulary(self, folder: Path) -> None:
        write_json(folder / "vocab.json", self.encoder)
        lines = ["#version: 0.2", *(" ".join(pair) for pair in self.merges)]
        write_text(folder / "merges.txt", "\n".join(lines) + "\n")

    def _look_up(self) -> None:
        super()._look_up()
        self._byte_of = {symbol: byte for byte, symbol in _byte_symbols().items()}

    def _make_backend(self) -> Tokenizer:
        """The `tokenizers` object that makes ids of words."""
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
    """The tokenizer that published Stable Diffusion folders name: repairs text with ftfy, then lower case, then BPE."""

    def _look_up(self) -> None:
        super()._look_up()
        self.backend = self._make_backend()

    def _make_backend(self) -> Tokenizer:
        backend = super()._make_backend()  # it is given words, so it does not split them
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return backend

    def _ids_of_plain(self, text: str) -> list[int]:
        text = _SPACES.sub(" ", ftfy.fix_text(text)).strip().lower()
        ids: list[int] = []
        pending: list[str] = []
        for word in _WORDS.findall(text):
            if word in _CASED_OUT:  # lower case or a repair brought out a special token: one token too
                ids += [*self._ids_of_words(pending), self.convert_tokens_to_ids(word)]
                pending = []
            else:
                pending.append(word)
        return ids + self._ids_of_words(pending)

    def _ids_of_words(self, words: list[str]) -> list[int]:
        if not words:
            return []
        return self.backend.encode(words, is_pretokenized=True, add_special_tokens=False).ids


class CLIPTokenizerFast(FastTokenizer, _CLIPTokenizerBase):
    """The original library's fast tokenizer: NFC, single spaces, lower case, then BPE."""

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


def _byte_symbols() -> dict[int, str]:
    """The visible character that stands for each byte in byte-level BPE vocabularies (GPT-2's convention)."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


def _read_bpe(
    vocab_file: str | os.PathLike | None, merges_file: str | os.PathLike | None, tokenizer_file: Any
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    if vocab_file is not None and merges_file is not None:
        lines = Path(merges_file).read_text(encoding="utf-8").split("\n")
        # CLIP's own file is longer than its vocabulary: 48894 rules are used
        rules = [line for line in lines if line and not line.startswith("#version")][: 49152 - 256 - 2]
        return read_json(vocab_file), [_pair(rule, merges_file) for rule in rules]
    if tokenizer_file is None:
        raise ConfigError("A CLIP tokenizer needs vocab_file and merges_file, or tokenizer_file.")
    model = read_json(tokenizer_file).get("model", {})
    if model.get("type") != "BPE" or "vocab" not in model or "merges" not in model:
        raise ConfigError("This tokenizer.json holds no BPE model.", where=tokenizer_file)
    merges = [tuple(rule) if isinstance(rule, list) else _pair(rule, tokenizer_file) for rule in model["merges"]]
    return dict(model["vocab"]), merges


def _pair(rule: str, where: Any) -> tuple[str, str]:
    parts = rule.split()
    if len(parts) != 2:
        raise ConfigError(f"A merge rule has {len(parts)} parts: {rule!r}.", where=where, expected="two")
    return parts[0], parts[1]
