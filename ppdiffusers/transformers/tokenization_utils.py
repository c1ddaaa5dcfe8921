"""What all tokenizers share: files, special and added tokens, padding and cutting, decoding."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tokenizers import AddedToken

from ppdiffusers.core.config import read_json
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.files import replace_file
from ppdiffusers.io.required_files import TOKENIZER_FILES, VOCABULARIES, NamedFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

_UNLIMITED = 10**20  # a model_max_length above it stands for "none"
_PADDING = {False: None, "do_not_pad": None, True: "longest", "longest": "longest", "max_length": "max_length"}
_TRUNCATION = {None: False, False: False, "do_not_truncate": False, True: True, "longest_first": True}


class BatchEncoding(dict):
    """What a tokenizer returns: `input_ids` and `attention_mask`, as items and as attributes."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


def _id_of(name: str) -> property:
    return property(lambda self: self.convert_tokens_to_ids(getattr(self, name)), doc=f"Id of `{name}`.")


class PretrainedTokenizer:
    """Base of the tokenizers: texts to ids and back, with the names and the files of the original library.

    A subclass reads its vocabulary, hands it to `__init__`, and says how a text without added tokens becomes ids
    (`_ids_of_plain`) and how tokens become a text (`convert_tokens_to_string`).

    Args:
        vocabulary: token -> id, without those that are added.
        specials: name -> token of the class's `special_names`: texts, `AddedToken`s or their dictionaries.
        model_max_length: texts are padded and cut to it.
        additional_special_tokens: further tokens that `skip_special_tokens` leaves out.
        added_tokens_decoder: id -> token that is found whole in texts, before anything else.
        padding_side, truncation_side: "right" or "left".

    Class attributes:
        special_names: the special tokens that this kind of tokenizer has.
        first_token, last_token: names of those that stand around each text.
        vocabulary_files: alternatives, the best first, each {argument of `__init__`: file name}.
    """

    config_file = "tokenizer_config.json"
    model_input_names = ("input_ids", "attention_mask")
    special_names: ClassVar[tuple[str, ...]] = ("bos_token", "eos_token", "unk_token", "pad_token")
    first_token: ClassVar[str] = "bos_token"
    last_token: ClassVar[str] = "eos_token"
    vocabulary_files: ClassVar[tuple[Mapping[str, str], ...]] = ()

    bos_token_id, eos_token_id = _id_of("bos_token"), _id_of("eos_token")
    unk_token_id, pad_token_id = _id_of("unk_token"), _id_of("pad_token")
    cls_token_id, sep_token_id, mask_token_id = _id_of("cls_token"), _id_of("sep_token"), _id_of("mask_token")

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        specials: Mapping[str, Any],
        model_max_length: int | None = None,
        additional_special_tokens: Iterable[Any] | None = None,
        added_tokens_decoder: Mapping[int, Any] | None = None,
        clean_up_tokenization_spaces: bool = False,
        padding_side: str = "right",
        truncation_side: str = "right",
    ):
        self.encoder = dict(vocabulary)
        self.model_max_length = int(10**30 if model_max_length is None else min(model_max_length, 10**30))
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.padding_side, self.truncation_side = padding_side, truncation_side
        for side in (padding_side, truncation_side):
            if side not in ("right", "left"):
                raise ConfigError(f"A tokenizer cannot pad or cut on the side {side!r}.", expected='"right" or "left"')
        self.added_tokens_decoder = {int(i): as_added(t) for i, t in (added_tokens_decoder or {}).items()}
        self._vocabulary = {**self.encoder, **self.added_tokens_encoder}
        for name in self.special_names:
            self._mark(self._special(name, specials[name]))
            setattr(self, name, content(specials[name]))
        self.additional_special_tokens = [content(token) for token in additional_special_tokens or ()]
        for token in additional_special_tokens or ():
            self._mark(as_added(token, normalized=False, special=True))
        self._look_up()

    def _special(self, name: str, token: Any) -> AddedToken:
        """The special token `name` with its flags."""
        return as_added(token, normalized=False, special=True)

    # -- files ----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, subfolder: str | None = None, **kwargs: Any) -> Any:
        """Load from a folder, or a hub's model, that holds one of the class's `vocabulary_files`.

        Args:
            kwargs: settings that replace those of the folder, such as `model_max_length=77`; `source`, `revision`, ...
                say where to look for a name.

        Raises:
            ConfigError: none of the files is there, or one is damaged.
        """
        options = pop_hub_options(kwargs)
        folder = resolve_folder(name_or_path, subfolder, NamedFiles(TOKENIZER_FILES, VOCABULARIES), options)
        there = [names for names in cls.vocabulary_files if all((folder / n).is_file() for n in names.values())]
        if not there:
            raise ConfigError(
                f"The folder holds no {cls.__name__}.",
                where=folder,
                expected=", or ".join(" and ".join(names.values()) for names in cls.vocabulary_files),
                remedy="check the path and `subfolder`.",
            )
        settings = _read_settings(folder, cls.config_file, cls.special_names)
        settings.setdefault("model_max_length", settings.pop("max_len", None))
        taken = cls._settings()
        chosen = {key: value for key, value in {**settings, **kwargs}.items() if key in taken and value is not None}
        return cls(**{argument: folder / name for argument, name in there[0].items()}, **chosen)

    @classmethod
    def _settings(cls) -> set[str]:
        """What is read from the folder's configuration."""
        taken = {*cls.special_names, "model_max_length", "clean_up_tokenization_spaces", "additional_special_tokens"}
        return taken | {"added_tokens_decoder", "padding_side", "truncation_side"}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Write the vocabulary, tokenizer_config.json, special_tokens_map.json (and added_tokens.json)."""
        folder = Path(save_directory)
        states = {index: _state(token) for index, token in sorted(self.added_tokens_decoder.items())}
        by_content = {state["content"]: state for state in states.values()}
        specials: dict[str, Any] = {name: getattr(self, name) for name in self.special_names}
        extra = {"additional_special_tokens": self.additional_special_tokens} if self.additional_special_tokens else {}
        config = {
            "added_tokens_decoder": {str(index): state for index, state in states.items()},
            **specials,
            **extra,
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "tokenizer_class": type(self).__name__.removesuffix("Fast"),
            **self._more_config(),
        }
        for stale in ("added_tokens.json", "tokenizer.json"):  # of another tokenizer that lay here before
            (folder / stale).unlink(missing_ok=True)
        self._save_vocabulary(folder)
        write_json(folder / self.config_file, config)
        whole = {name: {k: v for k, v in by_content[t].items() if k != "special"} for name, t in specials.items()}
        write_json(folder / "special_tokens_map.json", {**whole, **extra})
        outside = {token: index for token, index in self.added_tokens_encoder.items() if token not in self.encoder}
        if outside:
            write_json(folder / "added_tokens.json", outside)

    def _more_config(self) -> dict[str, Any]:
        """Keys of tokenizer_config.json that only this kind of tokenizer has."""
        return {}

    def _save_vocabulary(self, folder: Path) -> None:
        """Write the vocabulary's files."""
        raise TypeError(f"{type(self).__name__} has no files of its own: use a subclass")

    # -- vocabulary -----------------------------------------------------------------------------------------------

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Tokens that are found whole in a text -> ids: the special ones and those that were added."""
        return {token.content: index for index, token in sorted(self.added_tokens_decoder.items())}

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary, without those that were added."""
        return len(self.encoder)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._vocabulary)

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add tokens (texts or `AddedToken`s), new ones at the end of the vocabulary; returns how many were new."""
        before = len(self)
        for token in [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens):
            added = as_added(token, normalized=not special_tokens, special=special_tokens)
            self._mark(added)
            if added.special and added.content not in self.all_special_tokens:
                self.additional_special_tokens.append(added.content)
        self._look_up()
        return len(self) - before

    def _mark(self, token: AddedToken) -> None:
        """Have a token found whole in texts, under the id it has or the next free one."""
        if token.content and token.content not in self.added_tokens_encoder:
            index = self._vocabulary.setdefault(token.content, len(self._vocabulary))
            self.added_tokens_decoder[index] = token

    def _look_up(self) -> None:
        """What is derived from the vocabulary: its inverse, and how added tokens are found."""
        self._decoder = {index: token for token, index in self._vocabulary.items()}
        longest_first = sorted(self.added_tokens_encoder, key=len, reverse=True)
        self._added_pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> int | list[int]:
        if isinstance(tokens, str):
            return self._vocabulary.get(tokens, self._vocabulary[self.unk_token])
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> str | list[str]:
        """Tokens of an id or of several.

        Raises:
            InputError: an id that the vocabulary does not have.
        """
        if np.ndim(ids) == 0:
            if int(ids) not in self._decoder:
                raise InputError(f"The vocabulary has no id {int(ids)}.", expected=f"0 to {len(self) - 1}")
            return self._decoder[int(ids)]
        skipped = set(self.all_special_ids) if skip_special_tokens else ()
        return [self.convert_ids_to_tokens(index) for index in ids if int(index) not in skipped]

    @property
    def all_special_tokens(self) -> list[str]:
        named = (getattr(self, name) for name in self.special_names)
        return list(dict.fromkeys([*named, *self.additional_special_tokens]))

    @property
    def all_special_ids(self) -> list[int]:
        return self.convert_tokens_to_ids(self.all_special_tokens)

    # -- text to ids ----------------------------------------------------------------------------------------------

    def _ids(self, text: str) -> list[int]:
        """Ids of a text without the special tokens around it."""
        ids: list[int] = []
        added = self.added_tokens_encoder
        for piece in self._pieces(text, added):
            ids += [added[piece]] if piece in added else self._ids_of_plain(piece)
        return ids

    def _ids_of_plain(self, text: str) -> list[int]:
        """Ids of a text in which no added token stands."""
        raise TypeError(f"{type(self).__name__} cannot read texts: use a subclass")

    def _pieces(self, text: str, added: dict[str, int]) -> list[str]:
        """The text cut at added tokens; those take their neighbours' spaces, or join them, if they are made so."""
        pieces = [piece for piece in self._added_pattern.split(text) if piece]
        for n, piece in enumerate(pieces):
            if piece not in added:
                continue
            token = self.added_tokens_decoder[added[piece]]
            left = pieces[n - 1] if n > 0 else ""
            right = pieces[n + 1] if n + 1 < len(pieces) else ""
            if token.rstrip and right:
                pieces[n + 1] = right.lstrip()
            if token.lstrip and left:
                pieces[n - 1] = left.rstrip()
            if token.single_word and left and not left.endswith(" "):
                pieces[n - 1] += piece
                pieces[n] = ""
            elif token.single_word and right and not right.startswith(" "):
                pieces[n + 1] = piece + pieces[n + 1]
                pieces[n] = ""
        return [piece for piece in pieces if piece]

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return self.convert_ids_to_tokens(self._ids(text))

    def encode(self, text: str, add_special_tokens: bool = True, **kwargs: Any) -> list[int]:
        """Ids of one text."""
        return self(text, add_special_tokens=add_special_tokens, **kwargs)["input_ids"]

    def __call__(
        self,
        text: str | list[str] | tuple[str, ...],
        *,
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
            truncation: True cuts to `max_length`; `max_length` alone, without padding, cuts too.
            max_length: for padding and truncation; `model_max_length` unless given.
            return_tensors: "pd" for Paddle tensors [B, S], "np" for arrays, None for lists.
            return_length: `length`, the number of tokens of each text, is returned too.
            kwargs: the original's other switches, which can only be off.

        Raises:
            InputError: something that is no text, another framework's tensors, or an unknown argument.
        """
        switched_on = [f"{key}={value!r}" for key, value in kwargs.items() if value and key != "verbose"]
        if switched_on:
            raise InputError(f"{type(self).__name__} does not know these arguments.", problems=switched_on)
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
        pad_to, cut_to = self._limits(padding, truncation, max_length, specials=2 if add_special_tokens else 0)
        rows = [self._with_specials(self._ids(t), add_special_tokens, cut_to) for t in texts]
        encoded = {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}
        lengths = [len(row) for row in rows]
        if pad_to is not None:
            width = max(lengths, default=0) if pad_to == "longest" else pad_to
            encoded["input_ids"] = [self._filled(row, width, self.pad_token_id) for row in rows]
            encoded["attention_mask"] = [self._filled(mask, width, 0) for mask in encoded["attention_mask"]]
        if return_attention_mask is False:
            del encoded["attention_mask"]
        if return_length:
            encoded["length"] = lengths
        if return_tensors is None:
            return BatchEncoding({key: value[0] if single else value for key, value in encoded.items()})
        return BatchEncoding({key: _as_tensor(value, return_tensors) for key, value in encoded.items()})

    def _limits(
        self, padding: Any, truncation: Any, max_length: int | None, specials: int
    ) -> tuple[int | str | None, int | None]:
        """(number of tokens to fill to, or "longest", or None; number to cut to, or None)."""
        wrong = [f"padding={padding!r}"] if padding not in _PADDING else []
        wrong += [f"truncation={truncation!r}"] if truncation not in _TRUNCATION else []
        if wrong:
            raise InputError(
                "The tokenizer does not know how to pad or cut so.",
                problems=wrong,
                expected=f"padding: {', '.join(map(repr, _PADDING))}; truncation: {', '.join(map(repr, _TRUNCATION))}",
            )
        pad, cut = _PADDING[padding], _TRUNCATION[truncation]
        if max_length is not None and padding is False and truncation is None:
            cut = True
        limit = self.model_max_length if max_length is None else max_length
        if limit > _UNLIMITED and (cut or pad == "max_length"):
            logger.warning("The tokenizer has no model_max_length and no max_length is given: texts keep their length.")
            return (None if pad == "max_length" else pad), None
        if cut and limit < specials:
            raise InputError(f"max_length={limit} leaves no room for the {specials} special tokens of a text.")
        return (limit if pad == "max_length" else pad), (limit if cut else None)

    @property
    def _first(self) -> list[int]:
        return [self.convert_tokens_to_ids(getattr(self, self.first_token))]

    @property
    def _last(self) -> list[int]:
        return [self.convert_tokens_to_ids(getattr(self, self.last_token))]

    def _with_specials(self, ids: list[int], add: bool, limit: int | None) -> list[int]:
        if limit is not None:
            room = limit - 2 * add
            ids = ids[:room] if self.truncation_side == "right" else ids[max(0, len(ids) - room) :]
        return [*self._first, *ids, *self._last] if add else ids

    def _filled(self, row: list[int], width: int, value: int) -> list[int]:
        filling = [value] * (width - len(row))
        return row + filling if self.padding_side == "right" else filling + row

    def pad(
        self,
        encoded_inputs: dict,
        padding: bool | str = True,
        max_length: int | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pad lists of ids: to the longest, or to `max_length`."""
        rows = [list(map(int, row)) for row in encoded_inputs["input_ids"]]
        pad_to, _ = self._limits(padding, False, max_length, specials=0)
        width = max(map(len, rows), default=0) if pad_to in ("longest", None) else pad_to
        result = {
            "input_ids": [self._filled(row, width, self.pad_token_id) for row in rows],
            "attention_mask": [self._filled([1] * len(row), width, 0) for row in rows],
        }
        if return_tensors is not None:
            result = {key: _as_tensor(value, return_tensors) for key, value in result.items()}
        return BatchEncoding(result)

    # -- ids to text ----------------------------------------------------------------------------------------------

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """The text that ids stand for."""
        text = self._decode(np.asarray(token_ids).reshape(-1).tolist(), skip_special_tokens)
        clean = clean_up_tokenization_spaces
        clean = self.clean_up_tokenization_spaces if clean is None else clean
        return _clean_up(text) if clean else text

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        """Added tokens stand alone between spaces, except the special ones that the vocabulary knows."""
        alone = {*self.added_tokens_encoder} - {getattr(self, name) for name in self.special_names}
        alone -= {token for token in self.additional_special_tokens if token in self.encoder}
        parts: list[str] = []
        pending: list[str] = []
        for token in self.convert_ids_to_tokens(ids, skip_special_tokens):
            if token in alone:
                before = self.convert_tokens_to_string(pending)
                parts += [before, token] if before else [token]
                pending = []
            else:
                pending.append(token)
        return " ".join([*parts, self.convert_tokens_to_string(pending)] if pending else parts)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text of tokens that are all in the vocabulary."""
        raise TypeError(f"{type(self).__name__} cannot write texts: use a subclass")

    def batch_decode(self, sequences: Any, **kwargs: Any) -> list[str]:
        return [self.decode(sequence, **kwargs) for sequence in sequences]


class FastTokenizer(PretrainedTokenizer):
    """Base of the tokenizers that leave all work to the `tokenizers` library, as the original's fast ones do.

    A subclass has `_make_backend`, which gives a `tokenizers.Tokenizer` of the vocabulary, and `_post_processor`,
    which puts the special tokens around a text.
    """

    def _look_up(self) -> None:
        super()._look_up()
        self.backend = self._make_backend()
        self.backend.add_tokens([token for _, token in sorted(self.added_tokens_decoder.items())])
        moved = [
            f"{token.content!r}: {index}, expected {self.backend.token_to_id(token.content)}"
            for index, token in self.added_tokens_decoder.items()
            if self.backend.token_to_id(token.content) != index
        ]
        if moved:
            raise ConfigError("Added tokens do not follow the vocabulary without gaps.", problems=moved)

    def _ids(self, text: str) -> list[int]:
        return self.backend.encode(text, add_special_tokens=False).ids

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return self.backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Write the files that the slow tokenizer writes, and tokenizer.json."""
        super().save_pretrained(save_directory)
        self.backend.post_processor = self._post_processor()
        write_text(Path(save_directory) / "tokenizer.json", self.backend.to_str(pretty=True))


# -- helpers -----------------------------------------------------------------------------------------------------------


def _read_settings(folder: Path, config_file: str, special_names: Iterable[str]) -> dict[str, Any]:
    """What the folder says about the tokenizer, `added_tokens_decoder` included, whoever wrote it and when."""
    settings = _read_if_there(folder / config_file)
    if "added_tokens_decoder" in settings:
        decoder = {int(index): as_added(token) for index, token in settings["added_tokens_decoder"].items()}
    else:  # older: other files say more
        settings.update(_read_if_there(folder / "special_tokens_map.json"))
        named = {content(settings.get(name)) for name in special_names}
        named |= {content(token) for token in settings.get("additional_special_tokens") or ()}
        decoder = {
            int(index): AddedToken(token, normalized=token not in named, special=token in named)
            for token, index in _read_if_there(folder / "added_tokens.json").items()
        }
        for token in _read_if_there(folder / "tokenizer.json").get("added_tokens", ()):
            decoder[int(token["id"])] = as_added({key: value for key, value in token.items() if key != "id"})
    return {**settings, "added_tokens_decoder": decoder}


def as_added(token: Any, normalized: bool = True, special: bool = False) -> AddedToken:
    """Tokens are given as texts, as dictionaries of files, or whole; the flags are for texts."""
    if isinstance(token, Mapping):
        flags = {key: value for key, value in token.items() if key != "__type"}
        return AddedToken(**{**flags, "special": flags.get("special", False) or special})
    if isinstance(token, AddedToken):
        return AddedToken(**{**_state(token), "special": token.special or special})
    return AddedToken(str(token), normalized=normalized, special=special)


def _state(token: AddedToken) -> dict[str, Any]:
    names = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return {name: getattr(token, name) for name in names}


def _read_if_there(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}


def content(token: Any) -> Any:
    """The text of a token that is given as a text, a dictionary or whole."""
    return token["content"] if isinstance(token, Mapping) else getattr(token, "content", token)


def write_json(path: Path, value: dict) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
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
