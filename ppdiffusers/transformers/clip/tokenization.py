"""CLIP's byte-level BPE tokenizers, on the `tokenizers` library; ids equal those of the original library."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.files import replace_file
from ppdiffusers.io.source import resolve_folder

_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
# The slow tokenizer's pattern ignores case: in Python's `regex` that also makes U+0345, the one mark that folds to a
# letter, match nothing at all, so it is left out of the ids.
_SLOW_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}\x{0345}]+"
_SPECIALS = ("bos_token", "eos_token", "unk_token", "pad_token")


class BatchEncoding(dict):
    """What a tokenizer returns: `input_ids` and `attention_mask`, as items and as attributes."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


class _CLIPTokenizerBase:
    """What both tokenizers share: files, special tokens, padding, decoding.

    Args:
        vocab_file, merges_file: BPE vocabulary (JSON) and merges (a rule a line).
        tokenizer_file: the same in one `tokenizer.json`, used when the two are not given.
        model_max_length: texts are padded and cut to it.
        added_tokens: further tokens -> ids, found in texts before anything else.
    """

    config_file = "tokenizer_config.json"
    model_input_names = ("input_ids", "attention_mask")

    def __init__(
        self,
        vocab_file: str | os.PathLike | None = None,
        merges_file: str | os.PathLike | None = None,
        tokenizer_file: str | os.PathLike | None = None,
        unk_token: str = "<|endoftext|>",
        bos_token: str = "<|startoftext|>",
        eos_token: str = "<|endoftext|>",
        pad_token: str = "<|endoftext|>",
        model_max_length: int = 77,
        added_tokens: dict[str, int] | None = None,
        clean_up_tokenization_spaces: bool = True,
        **kwargs: Any,
    ):
        self.unk_token, self.bos_token, self.eos_token, self.pad_token = unk_token, bos_token, eos_token, pad_token
        self.model_max_length = int(min(model_max_length, 10**30))
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.init_kwargs = kwargs
        self.encoder, self.merges = _read_bpe(vocab_file, merges_file, tokenizer_file)
        self.added_tokens_encoder: dict[str, int] = dict(added_tokens or {})
        for name in _SPECIALS:
            token = getattr(self, name)
            if token not in self.encoder and token not in self.added_tokens_encoder:
                self.added_tokens_encoder[token] = len(self)
        self._build()

    # -- files ----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, subfolder: str | None = None, **kwargs: Any) -> Any:
        """Load from a folder with vocab.json and merges.txt, or with tokenizer.json.

        Raises:
            ConfigError: none of them is there, or one is damaged.
        """
        folder = Path(resolve_folder(name_or_path, subfolder))
        settings = _read_if_there(folder / cls.config_file)
        settings.update(_read_if_there(folder / "special_tokens_map.json"))
        added = dict(_read_if_there(folder / "added_tokens.json"))
        for index, token in settings.pop("added_tokens_decoder", {}).items():
            added[_content(token)] = int(index)
        known = {*_SPECIALS, "model_max_length", "clean_up_tokenization_spaces"}
        chosen = {key: _content(value) for key, value in settings.items() if key in known and value is not None}
        files = {}
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            files = {"vocab_file": folder / "vocab.json", "merges_file": folder / "merges.txt"}
        elif (folder / "tokenizer.json").is_file():
            files = {"tokenizer_file": folder / "tokenizer.json"}
        else:
            raise ConfigError(
                "The folder holds no CLIP tokenizer.",
                where=folder,
                expected="vocab.json and merges.txt, or tokenizer.json",
                remedy="check the path and `subfolder`.",
            )
        legacy = {key for key in kwargs if key not in known and key not in _SPECIALS}
        return cls(**files, **{**chosen, **{k: v for k, v in kwargs.items() if k not in legacy}}, added_tokens=added)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Write vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json (and added tokens)."""
        folder = Path(save_directory)
        specials = {name: self._as_added(getattr(self, name)) for name in _SPECIALS}
        named = {getattr(self, name) for name in _SPECIALS}
        decoder = {
            str(index): {**self._as_added(token), "special": token in named}
            for token, index in sorted(self._all_added().items(), key=lambda item: item[1])
        }
        config = {
            "add_prefix_space": False,
            "added_tokens_decoder": decoder,
            **{name: specials[name]["content"] for name in _SPECIALS},
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "do_lower_case": True,
            "errors": "replace",
            "model_max_length": self.model_max_length,
            "tokenizer_class": "CLIPTokenizer",
        }
        _write_json(folder / "vocab.json", self.encoder)
        lines = ["#version: 0.2", *(" ".join(pair) for pair in self.merges)]
        _write_text(folder / "merges.txt", "\n".join(lines) + "\n")
        _write_json(folder / self.config_file, config)
        _write_json(folder / "special_tokens_map.json", specials)
        extra = {token: index for token, index in self.added_tokens_encoder.items() if token not in self.encoder}
        if extra:
            _write_json(folder / "added_tokens.json", extra)

    @staticmethod
    def _as_added(token: str) -> dict[str, Any]:
        return {"content": token, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}

    # -- vocabulary -----------------------------------------------------------------------------------------------

    def _all_added(self) -> dict[str, int]:
        """Tokens that are found whole in a text: the special ones and those that were added."""
        specials = {getattr(self, name) for name in _SPECIALS}
        vocabulary = {**self.encoder, **self.added_tokens_encoder}
        return {token: vocabulary[token] for token in {*specials, *self.added_tokens_encoder}}

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary, without those that were added."""
        return len(self.encoder)

    def __len__(self) -> int:
        return max([len(self.encoder), *(index + 1 for index in self.added_tokens_encoder.values())])

    def get_vocab(self) -> dict[str, int]:
        return {**self.encoder, **self.added_tokens_encoder}

    def add_tokens(self, new_tokens: str | Iterable[str], special_tokens: bool = False) -> int:
        """Add tokens at the end of the vocabulary; returns how many were new."""
        new_tokens = [new_tokens] if isinstance(new_tokens, str) else list(new_tokens)
        known = self.get_vocab()
        added = 0
        for token in dict.fromkeys(map(str, new_tokens)):
            if token not in known:
                self.added_tokens_encoder[token] = len(self)
                added += 1
        self._build()
        return added

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> int | list[int]:
        vocabulary = self.get_vocab()
        if isinstance(tokens, str):
            return vocabulary.get(tokens, vocabulary[self.unk_token])
        return [vocabulary.get(token, vocabulary[self.unk_token]) for token in tokens]

    def convert_ids_to_tokens(self, ids: int | Iterable[int], skip_special_tokens: bool = False) -> str | list[str]:
        if isinstance(ids, int):
            return self._decoder.get(ids, self.unk_token)
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self._decoder.get(int(index), self.unk_token) for index in ids if int(index) not in skipped]

    @property
    def bos_token_id(self) -> int:
        return self.convert_tokens_to_ids(self.bos_token)

    @property
    def eos_token_id(self) -> int:
        return self.convert_tokens_to_ids(self.eos_token)

    @property
    def pad_token_id(self) -> int:
        return self.convert_tokens_to_ids(self.pad_token)

    @property
    def unk_token_id(self) -> int:
        return self.convert_tokens_to_ids(self.unk_token)

    @property
    def all_special_tokens(self) -> list[str]:
        return list(dict.fromkeys(getattr(self, name) for name in _SPECIALS))

    @property
    def all_special_ids(self) -> list[int]:
        return self.convert_tokens_to_ids(self.all_special_tokens)

    # -- text to ids ----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self._decoder = {index: token for token, index in self.get_vocab().items()}
        self._byte_of = {symbol: byte for byte, symbol in _byte_symbols().items()}
        model = BPE(
            vocab=self.encoder,
            merges=self.merges,
            unk_token=self.unk_token if self.unk_token in self.encoder else None,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            fuse_unk=False,
        )
        self.backend = Tokenizer(model)
        self._prepare_backend()

    def _prepare_backend(self) -> None:
        raise TypeError("use CLIPTokenizer or CLIPTokenizerFast")

    def _ids(self, text: str) -> list[int]:
        """Ids of a text without the special tokens around it."""
        raise TypeError("use CLIPTokenizer or CLIPTokenizerFast")

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return self.convert_ids_to_tokens(self._ids(text))

    def encode(self, text: str, add_special_tokens: bool = True, **kwargs: Any) -> list[int]:
        """Ids of one text."""
        return self(text, add_special_tokens=add_special_tokens, **kwargs)["input_ids"]

    def __call__(
        self,
        text: str | list[str] | tuple[str, ...],
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
        return_length: bool = False,
        **kwargs: Any,
    ) -> BatchEncoding:
        """Encode a text or a list of texts.

        Args:
            padding: "max_length", True or "longest", or False.
            max_length: for padding and truncation; `model_max_length` unless given.
            return_tensors: "pd" for Paddle tensors [B, S], "np" for arrays, None for lists.

        Raises:
            InputError: something that is no text, or another framework's tensors asked for.
        """
        if return_tensors not in (None, "pd", "np"):
            raise InputError(
                f"return_tensors={return_tensors!r} is not possible here.",
                expected='"pd" (Paddle), "np" (numpy) or None (lists)',
            )
        single = isinstance(text, str)
        texts = [text] if single else list(text)
        wrong = [f"text {n} is {type(t).__name__}" for n, t in enumerate(texts) if not isinstance(t, str)]
        if wrong:
            raise InputError("The tokenizer takes a text or a list of texts.", problems=wrong)
        limit = self.model_max_length if max_length is None else max_length
        rows = [self._with_specials(self._ids(t), add_special_tokens, limit if truncation else None) for t in texts]
        width = None
        if padding == "max_length":
            width = limit
        elif padding in (True, "longest"):
            width = max(map(len, rows), default=0)
        lengths = [len(row) for row in rows]
        masks = [[1] * len(row) for row in rows]
        if width is not None:
            masks = [mask + [0] * (width - len(mask)) for mask in masks]
            rows = [row + [self.pad_token_id] * (width - len(row)) for row in rows]
        encoded = {"input_ids": rows}
        if return_attention_mask is not False:
            encoded["attention_mask"] = masks
        if return_length:
            encoded["length"] = lengths
        if return_tensors is None:
            return BatchEncoding({key: value[0] if single else value for key, value in encoded.items()})
        return BatchEncoding({key: _as_tensor(value, return_tensors) for key, value in encoded.items()})

    def _with_specials(self, ids: list[int], add: bool, limit: int | None) -> list[int]:
        if limit is not None:
            ids = ids[: max(0, limit - 2 * add)]
        return [self.bos_token_id, *ids, self.eos_token_id] if add else ids

    def pad(
        self,
        encoded_inputs: dict,
        padding: bool | str = True,
        max_length: int | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pad lists of ids: to the longest, or to `max_length`."""
        rows = [list(map(int, row)) for row in encoded_inputs["input_ids"]]
        width = (max_length or self.model_max_length) if padding == "max_length" else max(map(len, rows))
        masks = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
        rows = [row + [self.pad_token_id] * (width - len(row)) for row in rows]
        result = {"input_ids": rows, "attention_mask": masks}
        if return_tensors is not None:
            result = {key: _as_tensor(value, return_tensors) for key, value in result.items()}
        return BatchEncoding(result)

    # -- ids to text ----------------------------------------------------------------------------------------------

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """The text that ids stand for (lower-case, spaces between words)."""
        ids = np.asarray(token_ids).reshape(-1).tolist()
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        parts: list[str] = []
        pending: list[str] = []
        for index in ids:
            if index in skipped:
                continue
            token = self.convert_ids_to_tokens(index)
            if token in self.added_tokens_encoder and token not in self.encoder:
                parts += [self.convert_tokens_to_string(pending), token] if pending else [token]
                pending = []
            else:
                pending.append(token)
        if pending:
            parts.append(self.convert_tokens_to_string(pending))
        text = " ".join(parts)
        clean = (
            self.clean_up_tokenization_spaces
            if clean_up_tokenization_spaces is None
            else (clean_up_tokenization_spaces)
        )
        return _clean_up(text) if clean else text

    def batch_decode(self, sequences: Any, **kwargs: Any) -> list[str]:
        return [self.decode(sequence, **kwargs) for sequence in sequences]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        joined = "".join(tokens)
        data = bytearray()
        for symbol in joined:
            data += bytes([self._byte_of[symbol]]) if symbol in self._byte_of else symbol.encode("utf-8")
        return data.decode("utf-8", errors="replace").replace("</w>", " ").strip()


class CLIPTokenizer(_CLIPTokenizerBase):
    """The tokenizer that published Stable Diffusion folders name: repairs text with ftfy, then lower case, then BPE."""

    def _prepare_backend(self) -> None:
        specials = "|".join(re.escape(token) for token in ("<|startoftext|>", "<|endoftext|>"))
        pattern = Regex(f"{specials}|{_SLOW_PATTERN}")
        self.backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(pattern, behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        self._words = pre_tokenizers.Split(pattern, behavior="removed", invert=True)
        added = sorted(self._all_added(), key=len, reverse=True)
        self._added_pattern = re.compile("|".join(map(re.escape, added)))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = []
        at = 0
        for match in self._added_pattern.finditer(text):
            ids += self._ids_of_plain(text[at : match.start()])
            ids.append(self.convert_tokens_to_ids(match.group()))
            at = match.end()
        return ids + self._ids_of_plain(text[at:])

    def _ids_of_plain(self, text: str) -> list[int]:
        text = re.sub(r"\s+", " ", ftfy.fix_text(text)).strip().lower()
        if not text:
            return []
        if "<|startoftext|>" not in text and "<|endoftext|>" not in text:
            return self.backend.encode(text, add_special_tokens=False).ids
        # special tokens that only lower case brought out are single tokens too
        ids: list[int] = []
        for word, _ in self._words.pre_tokenize_str(text):
            if word in ("<|startoftext|>", "<|endoftext|>"):
                ids.append(self.convert_tokens_to_ids(word))
            else:
                ids += self.backend.encode(word, add_special_tokens=False).ids
        return ids


class CLIPTokenizerFast(_CLIPTokenizerBase):
    """The original library's fast tokenizer: NFC, single spaces, lower case, then BPE."""

    def _prepare_backend(self) -> None:
        self.backend.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        self.backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_PATTERN), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        specials = {getattr(self, name) for name in _SPECIALS}
        ordered = sorted(self._all_added().items(), key=lambda item: item[1])
        for token, _ in ordered:
            added = AddedToken(token, normalized=True, special=token in specials)
            (self.backend.add_special_tokens if token in specials else self.backend.add_tokens)([added])

    def _ids(self, text: str) -> list[int]:
        return self.backend.encode(text, add_special_tokens=False).ids


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


def _read_if_there(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}


def _content(token: Any) -> Any:
    """Tokens are written as texts or as {"content": text, ...}."""
    return token["content"] if isinstance(token, dict) else token


def _write_json(path: Path, value: dict) -> None:
    _write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write_text(path: Path, text: str) -> None:
    with replace_file(path) as staging:
        staging.write_text(text, encoding="utf-8")


def _as_tensor(rows: list, kind: str) -> Any:
    if rows and isinstance(rows[0], list) and len({len(row) for row in rows}) > 1:
        raise InputError(
            "The texts have different lengths, so they make no tensor.", remedy='ask for padding="max_length" or True.'
        )
    array = np.asarray(rows, dtype=np.int64)
    if kind == "np":
        return array
    import paddle

    return paddle.to_tensor(array)


def _clean_up(text: str) -> str:
    for before, after in (
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ):
        text = text.replace(before, after)
    return text
