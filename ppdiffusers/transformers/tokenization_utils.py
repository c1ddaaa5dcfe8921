"""Base classes of the tokenizers: files, special and added tokens, padding, truncation, decoding."""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, overload

import numpy as np
from tokenizers import AddedToken

from ppdiffusers.core.config_types import built_from_configuration, create, shown
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.core.files import expand_user, replace_file
from ppdiffusers.core.reading import read_json
from ppdiffusers.core.saving import save_together
from ppdiffusers.io.required_files import TOKENIZER_FILES, VOCABULARIES, NamedFiles
from ppdiffusers.io.resolve import pop_hub_options, resolve_folder
from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    import paddle
    from tokenizers import Tokenizer
    from tokenizers.processors import PostProcessor
    from typing_extensions import Self

logger = get_logger(__name__)

# A token as configurations and callers specify it: its text, an object of the `tokenizers` library, or its dictionary.
TokenLike: TypeAlias = str | AddedToken | Mapping[str, Any]

_UNLIMITED = 10**20  # larger values of model_max_length mean that there is no limit
_PADDING = {False: None, "do_not_pad": None, True: "longest", "longest": "longest", "max_length": "max_length"}
_TRUNCATION = {None: False, False: False, "do_not_truncate": False, True: True, "longest_first": True}


class BatchEncoding(dict):
    """Output of a tokenizer or image processor, with its values as items and as attributes."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


def _id_of(name: str) -> property:
    return property(lambda self: self.convert_tokens_to_ids(getattr(self, name)), doc=f"Id of `{name}`.")


class PretrainedTokenizer:
    """Base class of the tokenizers, with the names and files of transformers.

    A subclass reads its vocabulary, passes it to `__init__`, and implements `_encode_segment` (text without added
    tokens to ids) and `convert_tokens_to_string`.

    Args:
        vocabulary: token -> id, without added tokens.
        specials: name -> token, for each of `special_names`.
        model_max_length: maximum number of tokens, used for padding and truncation.
        additional_special_tokens: further tokens that `skip_special_tokens` removes.
        added_tokens_decoder: id -> token that is matched in a text before it is tokenized.
        clean_up_tokenization_spaces: remove spaces in front of punctuation when decoding.
        padding_side, truncation_side: "right" or "left".

    Class attributes:
        special_names: names of the special tokens.
        first_token, last_token: names of the special tokens around each text; None for no token.
        vocabulary_files: alternative sets of files {argument of `__init__`: file name}, in order of preference.
    """

    config_file = "tokenizer_config.json"
    model_input_names = ("input_ids", "attention_mask")
    special_names: ClassVar[tuple[str, ...]] = ("bos_token", "eos_token", "unk_token", "pad_token")
    first_token: ClassVar[str | None] = "bos_token"
    last_token: ClassVar[str | None] = "eos_token"
    vocabulary_files: ClassVar[tuple[Mapping[str, str], ...]] = ()

    bos_token: str
    eos_token: str
    unk_token: str
    pad_token: str
    cls_token: str
    sep_token: str
    mask_token: str
    bos_token_id, eos_token_id = _id_of("bos_token"), _id_of("eos_token")
    unk_token_id, pad_token_id = _id_of("unk_token"), _id_of("pad_token")
    cls_token_id, sep_token_id, mask_token_id = _id_of("cls_token"), _id_of("sep_token"), _id_of("mask_token")

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        specials: Mapping[str, TokenLike],
        model_max_length: float | None = None,
        additional_special_tokens: Iterable[TokenLike] | None = None,
        added_tokens_decoder: Mapping[int, TokenLike] | None = None,
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
                raise ConfigError(f"Unknown padding or truncation side {side!r}.", expected='"right" or "left"')
        self.added_tokens_decoder = {int(i): to_added_token(t) for i, t in (added_tokens_decoder or {}).items()}
        self._vocabulary = {**self.encoder, **self.added_tokens_encoder}
        for name in self.special_names:
            self._register_token(self._special_token(name, specials[name]))
            setattr(self, name, token_content(specials[name]))
        if self.unk_token not in self._vocabulary:
            raise ConfigError("unk_token is empty.", expected="a token of the vocabulary")
        self.additional_special_tokens = [token_content(token) for token in additional_special_tokens or ()]
        for token in additional_special_tokens or ():
            self._register_token(to_added_token(token, normalized=False, special=True))
        self._update_lookup()

    def _special_token(self, name: str, token: TokenLike) -> AddedToken:
        """Return the special token `name` with its flags."""
        return to_added_token(token, normalized=False, special=True)

    # -- files ----------------------------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike, subfolder: str | None = None, **kwargs: Any) -> Self:
        """Load from a folder or a hub repository that contains one of the class's `vocabulary_files`.

        Args:
            name_or_path: a folder, or the name of a repository.
            subfolder: folder of the tokenizer in it.
            kwargs: settings that override those of the folder, such as `model_max_length=77`, and hub options such as
                `source` and `revision`.

        Raises:
            ConfigError: the files are missing or damaged.
        """
        options = pop_hub_options(kwargs)
        folder = resolve_folder(name_or_path, subfolder, NamedFiles(TOKENIZER_FILES, VOCABULARIES), options)
        present = [names for names in cls.vocabulary_files if all((folder / n).is_file() for n in names.values())]
        if not present:
            raise ConfigError(
                f"The folder does not contain a {cls.__name__}.",
                where=folder,
                expected=", or ".join(" and ".join(names.values()) for names in cls.vocabulary_files),
                remedy="check the path and `subfolder`.",
            )
        with built_from_configuration(f"A {cls.__name__}", folder):
            settings = _read_settings(folder, cls.config_file, cls.special_names)
        settings.setdefault("model_max_length", settings.pop("max_len", None))
        keys = cls._config_keys()
        settings = {key: value for key, value in {**settings, **kwargs}.items() if key in keys and value is not None}
        with built_from_configuration(cls.__name__, folder):
            return create(cls, {**{argument: folder / name for argument, name in present[0].items()}, **settings})

    @classmethod
    def _config_keys(cls) -> set[str]:
        """Return the keys of tokenizer_config.json that are passed to `__init__`."""
        keys = {*cls.special_names, "model_max_length", "clean_up_tokenization_spaces", "additional_special_tokens"}
        return keys | {"added_tokens_decoder", "padding_side", "truncation_side"}

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Write the vocabulary, tokenizer_config.json, special_tokens_map.json and, if needed, added_tokens.json."""
        states = {index: _token_state(token) for index, token in sorted(self.added_tokens_decoder.items())}
        by_content = {state["content"]: state for state in states.values()}
        specials: dict[str, str] = {name: getattr(self, name) for name in self.special_names}
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
            **self._extra_config(),
        }
        whole = {name: {k: v for k, v in by_content[t].items() if k != "special"} for name, t in specials.items()}
        outside = {token: index for token, index in self.added_tokens_encoder.items() if token not in self.encoder}
        with save_together(expand_user(save_directory)) as save:
            save.remove(("added_tokens.json", "tokenizer.json"))  # of a tokenizer that was saved to the folder before
            self._save_vocabulary(save.folder)
            write_json(save.folder / self.config_file, config)
            write_json(save.folder / "special_tokens_map.json", {**whole, **extra})
            if outside:
                write_json(save.folder / "added_tokens.json", outside)

    def _extra_config(self) -> dict[str, Any]:
        """Return the entries of tokenizer_config.json that are specific to this class."""
        return {}

    def _save_vocabulary(self, folder: Path) -> None:
        """Write the files of the vocabulary."""
        raise TypeError(f"{type(self).__name__} cannot save a vocabulary: use a subclass")

    # -- vocabulary -----------------------------------------------------------------------------------------------

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Token -> id of all special and added tokens, which are matched in a text before it is tokenized."""
        return {token.content: index for index, token in sorted(self.added_tokens_decoder.items())}

    @property
    def vocab_size(self) -> int:
        """Number of tokens without added tokens."""
        return len(self.encoder)

    def __len__(self) -> int:
        return len(self._vocabulary)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._vocabulary)

    def add_tokens(self, new_tokens: TokenLike | Iterable[TokenLike], special_tokens: bool = False) -> int:
        """Add tokens; those that are not in the vocabulary get the next ids.

        Returns:
            The number of tokens that were not in the vocabulary.
        """
        before = len(self)
        for token in [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else list(new_tokens):
            added = to_added_token(token, normalized=not special_tokens, special=special_tokens)
            self._register_token(added)
            if added.special and added.content not in self.all_special_tokens:
                self.additional_special_tokens.append(added.content)
        self._update_lookup()
        return len(self) - before

    def remove_tokens(self, tokens: Iterable[str]) -> None:
        """Remove added tokens; the tokens after them get smaller ids, so that no id is unused.

        Raises:
            InputError: tokens that were not added.
        """
        removed = set(tokens)
        wrong = sorted(t for t in removed if t not in self.added_tokens_encoder or t in self.encoder)
        if wrong:
            raise InputError("These tokens cannot be removed: they are not added tokens.", problems=wrong)
        gone = sorted(self._vocabulary[token] for token in removed)
        kept = {token: index for token, index in self._vocabulary.items() if token not in removed}
        self._vocabulary = {token: index - bisect.bisect(gone, index) for token, index in kept.items()}
        left = [token for token in self.added_tokens_decoder.values() if token.content not in removed]
        self.added_tokens_decoder = {self._vocabulary[token.content]: token for token in left}
        self._update_lookup()

    def _register_token(self, token: AddedToken) -> None:
        """Match a token in texts before they are tokenized; its id is that of the vocabulary, or the next free one."""
        if token.content and token.content not in self.added_tokens_encoder:
            index = self._vocabulary.setdefault(token.content, len(self._vocabulary))
            self.added_tokens_decoder[index] = token

    def _update_lookup(self) -> None:
        """Update everything that is derived from the vocabulary: its inverse and the pattern of added tokens."""
        self._decoder = {index: token for token, index in self._vocabulary.items()}
        longest_first = sorted(self.added_tokens_encoder, key=len, reverse=True)
        self._added_pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...

    @overload
    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]: ...

    def convert_tokens_to_ids(self, tokens: str | list[str]) -> int | list[int]:
        """Convert one token, or a list of tokens, to ids; unknown tokens get the id of `unk_token`."""
        if isinstance(tokens, str):
            return self._vocabulary.get(tokens, self._vocabulary[self.unk_token])
        return [self.convert_tokens_to_ids(token) for token in tokens]

    @overload
    def convert_ids_to_tokens(self, ids: int | np.integer, skip_special_tokens: bool = False) -> str: ...

    @overload
    def convert_ids_to_tokens(
        self, ids: Sequence[int] | np.ndarray, skip_special_tokens: bool = False
    ) -> list[str]: ...

    def convert_ids_to_tokens(
        self, ids: int | np.integer | Sequence[int] | np.ndarray, skip_special_tokens: bool = False
    ) -> str | list[str]:
        """Convert one id, or a sequence of ids, to tokens.

        Raises:
            InputError: an id is not in the vocabulary.
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

    def _encode_text(self, text: str) -> list[int]:
        """Tokenize a text to ids, without adding special tokens."""
        ids: list[int] = []
        added = self.added_tokens_encoder
        for segment in self._split_on_added_tokens(text, added):
            ids += [added[segment]] if segment in added else self._encode_segment(segment)
        return ids

    def _encode_segment(self, text: str) -> list[int]:
        """Tokenize a text that contains no added token to ids."""
        raise TypeError(f"{type(self).__name__} cannot encode: use a subclass")

    def _split_on_added_tokens(self, text: str, added: dict[str, int]) -> list[str]:
        """Split a text at added tokens.

        The flags of a token apply: `lstrip` and `rstrip` remove adjacent spaces; a `single_word` token inside a word
        stays part of the word.
        """
        segments = [segment for segment in self._added_pattern.split(text) if segment]
        for n, segment in enumerate(segments):
            if segment not in added:
                continue
            token = self.added_tokens_decoder[added[segment]]
            left = segments[n - 1] if n > 0 else ""
            right = segments[n + 1] if n + 1 < len(segments) else ""
            if token.rstrip and right:
                segments[n + 1] = right.lstrip()
            if token.lstrip and left:
                segments[n - 1] = left.rstrip()
            if token.single_word and left and not left.endswith(" "):
                segments[n - 1] += segment
                segments[n] = ""
            elif token.single_word and right and not right.startswith(" "):
                segments[n + 1] = segment + segments[n + 1]
                segments[n] = ""
        return [segment for segment in segments if segment]

    def tokenize(self, text: str, **kwargs: Any) -> list[str]:
        return self.convert_ids_to_tokens(self._encode_text(text))

    def encode(self, text: str, add_special_tokens: bool = True, **kwargs: Any) -> list[int]:
        """Tokenize one text to ids."""
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
        """Tokenize a text or a list of texts.

        Args:
            text: one text, or a list of texts.
            add_special_tokens: add the special tokens in front of and after each text.
            padding: "max_length", True or "longest", or False.
            truncation: True truncates to `max_length`; `max_length` without padding truncates too.
            max_length: length for padding and truncation; `model_max_length` by default.
            return_tensors: "pd" for Paddle tensors [B, S], "np" for arrays, None for lists.
            return_attention_mask: False removes `attention_mask` from the result.
            return_length: return `length`, the number of tokens of each text, too.
            kwargs: other arguments of transformers; only false values are supported.

        Raises:
            InputError: an argument is unsupported, or an element of `text` is not a string.
        """
        unsupported = [f"{key}={value!r}" for key, value in kwargs.items() if value and key != "verbose"]
        if unsupported:
            raise InputError(f"{type(self).__name__} does not support these arguments.", problems=unsupported)
        if return_tensors not in (None, "pd", "np"):
            raise InputError(
                f"return_tensors={return_tensors!r} is not supported.",
                expected='"pd" (Paddle), "np" (numpy) or None (lists)',
            )
        single = isinstance(text, str)
        texts = [text] if single else list(text)
        wrong = [f"text {n} is {type(t).__name__}" for n, t in enumerate(texts) if not isinstance(t, str)]
        if wrong:
            raise InputError("A tokenizer expects a text or a list of texts.", problems=wrong)
        prefix, suffix = self._special_ids() if add_special_tokens else ([], [])
        pad_to, truncate_to = self._lengths(padding, truncation, max_length, specials=len(prefix + suffix))
        truncated = (self._truncate(self._encode_text(one), truncate_to, prefix + suffix) for one in texts)
        rows = [self._add_special_tokens(ids, prefix, suffix) for ids in truncated]
        encoded = {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}
        lengths = [len(row) for row in rows]
        if pad_to is not None:
            width = max(lengths, default=0) if pad_to == "longest" else pad_to
            encoded["input_ids"] = [self._pad_row(row, width, self.pad_token_id) for row in rows]
            encoded["attention_mask"] = [self._pad_row(mask, width, 0) for mask in encoded["attention_mask"]]
        if return_attention_mask is False:
            del encoded["attention_mask"]
        if return_length:
            encoded["length"] = lengths
        if return_tensors is None:
            return BatchEncoding({key: value[0] if single else value for key, value in encoded.items()})
        return BatchEncoding({key: _as_tensor(value, return_tensors) for key, value in encoded.items()})

    def _lengths(
        self, padding: bool | str, truncation: bool | str | None, max_length: int | None, specials: int
    ) -> tuple[int | str | None, int | None]:
        """Return the length to pad to (a number, "longest" or None) and the length to truncate to (or None)."""
        wrong = [f"padding={padding!r}"] if padding not in _PADDING else []
        wrong += [f"truncation={truncation!r}"] if truncation not in _TRUNCATION else []
        if wrong:
            raise InputError(
                "Unknown padding or truncation strategy.",
                problems=wrong,
                expected=f"padding: {', '.join(map(repr, _PADDING))}; truncation: {', '.join(map(repr, _TRUNCATION))}",
            )
        pad, truncate = _PADDING[padding], _TRUNCATION[truncation]
        if max_length is not None and padding is False and truncation is None:
            truncate = True
        limit = self.model_max_length if max_length is None else max_length
        if limit > _UNLIMITED and (truncate or pad == "max_length"):
            logger.warning(
                "Texts are not padded to a maximum length or truncated: neither model_max_length of the tokenizer nor "
                "max_length is set."
            )
            return (None if pad == "max_length" else pad), None
        if truncate and limit < specials:
            raise InputError(
                f"max_length={limit} is less than the number of special tokens.", expected=f"at least {specials}"
            )
        return (limit if pad == "max_length" else pad), (limit if truncate else None)

    def _special_ids(self) -> tuple[list[int], list[int]]:
        """Return the ids of the special tokens in front of and after each text."""
        prefix, suffix = (
            [] if name is None else [self.convert_tokens_to_ids(getattr(self, name))]
            for name in (self.first_token, self.last_token)
        )
        return prefix, suffix

    def _add_special_tokens(self, ids: list[int], prefix: list[int], suffix: list[int]) -> list[int]:
        """Add the special tokens in front of and after the ids of a text."""
        return [*prefix, *ids, *suffix]

    def _truncate(self, ids: list[int], limit: int | None, specials: list[int]) -> list[int]:
        """Truncate the ids of a text so that they and the special tokens together have at most `limit` ids."""
        if limit is None:
            return ids
        count = limit - len(specials)
        return ids[:count] if self.truncation_side == "right" else ids[max(0, len(ids) - count) :]

    def _pad_row(self, row: list[int], width: int, value: int) -> list[int]:
        padding = [value] * (width - len(row))
        return row + padding if self.padding_side == "right" else padding + row

    def pad(
        self,
        encoded_inputs: Mapping[str, Any],
        padding: bool | str = True,
        max_length: int | None = None,
        return_tensors: str | None = None,
    ) -> BatchEncoding:
        """Pad lists of ids to the longest of them or to `max_length`."""
        rows = [list(map(int, row)) for row in encoded_inputs["input_ids"]]
        pad_to, _ = self._lengths(padding, False, max_length, specials=0)
        width = max(map(len, rows), default=0) if pad_to in ("longest", None) else pad_to
        result = {
            "input_ids": [self._pad_row(row, width, self.pad_token_id) for row in rows],
            "attention_mask": [self._pad_row([1] * len(row), width, 0) for row in rows],
        }
        if return_tensors is not None:
            result = {key: _as_tensor(value, return_tensors) for key, value in result.items()}
        return BatchEncoding(result)

    # -- ids to text ----------------------------------------------------------------------------------------------

    def decode(
        self,
        token_ids: int | Sequence[int] | np.ndarray | paddle.Tensor,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
    ) -> str:
        """Convert ids to text."""
        text = self._decode(np.asarray(token_ids).reshape(-1).tolist(), skip_special_tokens)
        clean = clean_up_tokenization_spaces
        clean = self.clean_up_tokenization_spaces if clean is None else clean
        return _clean_up(text) if clean else text

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        """Convert ids to text; added tokens that are not in the model's vocabulary are surrounded by spaces."""
        separate = {*self.added_tokens_encoder} - {getattr(self, name) for name in self.special_names}
        separate -= {token for token in self.additional_special_tokens if token in self.encoder}
        parts: list[str] = []
        pending: list[str] = []
        for token in self.convert_ids_to_tokens(ids, skip_special_tokens):
            if token in separate:
                before = self.convert_tokens_to_string(pending)
                parts += [before, token] if before else [token]
                pending = []
            else:
                pending.append(token)
        return " ".join([*parts, self.convert_tokens_to_string(pending)] if pending else parts)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens of the model's vocabulary into a text."""
        raise TypeError(f"{type(self).__name__} cannot decode: use a subclass")

    def batch_decode(self, sequences: Iterable[Sequence[int]] | np.ndarray | paddle.Tensor, **kwargs: Any) -> list[str]:
        return [self.decode(sequence, **kwargs) for sequence in sequences]


class FastTokenizer(PretrainedTokenizer):
    """Base class of the tokenizers that use the `tokenizers` library for all steps, like transformers' fast ones.

    A subclass implements `_make_backend`, which creates the `tokenizers.Tokenizer`, and `_post_processor`, which adds
    special tokens.
    """

    if TYPE_CHECKING:  # not defined at run time, because a subclass may inherit them from another base

        def _make_backend(self) -> Tokenizer: ...

        def _post_processor(self) -> PostProcessor: ...

    def _update_lookup(self) -> None:
        super()._update_lookup()
        with _errors_of_the_library():
            self.backend = self._make_backend()
        self.backend.add_tokens([token for _, token in sorted(self.added_tokens_decoder.items())])
        moved = [
            f"{token.content!r}: {index}, expected {self.backend.token_to_id(token.content)}"
            for index, token in self.added_tokens_decoder.items()
            if self.backend.token_to_id(token.content) != index
        ]
        if moved:
            raise ConfigError(
                "The ids of added tokens are not those that follow the vocabulary without gaps.", problems=moved
            )

    def _encode_text(self, text: str) -> list[int]:
        with _errors_of_the_library():
            return self.backend.encode(text, add_special_tokens=False).ids

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return self.backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Write the files of the slow tokenizer, and tokenizer.json."""
        self.backend.post_processor = self._post_processor()
        with save_together(expand_user(save_directory)) as save:
            super().save_pretrained(save.folder)
            write_text(save.folder / "tokenizer.json", self.backend.to_str(pretty=True))


# -- helpers -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _errors_of_the_library() -> Iterator[None]:
    """Raise ConfigError where the `tokenizers` library refuses its files: by a bare `Exception`, or by Rust's panic."""
    try:
        yield
    except BaseException as error:  # PanicException is no Exception, and has no public name
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise ConfigError(
            "The files of the tokenizer are damaged, or do not fit together.", problems=[str(error)]
        ) from error


def _read_settings(folder: Path, config_file: str, special_names: Iterable[str]) -> dict[str, Any]:
    """Read the settings of a tokenizer's folder in the current or the legacy format, with `added_tokens_decoder`."""
    settings = _read_json_if_exists(folder / config_file)
    if "added_tokens_decoder" in settings:
        decoder = {int(index): to_added_token(token) for index, token in settings["added_tokens_decoder"].items()}
    else:  # legacy format: special and added tokens are in other files
        settings.update(_read_json_if_exists(folder / "special_tokens_map.json"))
        named = {token_content(settings.get(name)) for name in special_names}
        named |= {token_content(token) for token in settings.get("additional_special_tokens") or ()}
        decoder = {
            int(index): AddedToken(token, normalized=token not in named, special=token in named)
            for token, index in _read_json_if_exists(folder / "added_tokens.json").items()
        }
        for token in _read_json_if_exists(folder / "tokenizer.json").get("added_tokens", ()):
            decoder[int(token["id"])] = to_added_token({key: value for key, value in token.items() if key != "id"})
    return {**settings, "added_tokens_decoder": decoder}


def check_vocabulary(vocabulary: object, where: object) -> dict[str, int]:
    """Return a vocabulary, token -> id, that was read from a file.

    Raises:
        ConfigError: it is not one; the first wrong entries are listed.
    """
    expected = "tokens and their ids, from 0"
    if not isinstance(vocabulary, dict):
        raise ConfigError("A vocabulary is missing.", where=where, problems=[shown(vocabulary)], expected=expected)
    limit = 2**31
    wrong = [key for key, index in vocabulary.items() if type(index) is not int or not 0 <= index < limit]
    if wrong:
        problems = [f"{key[:100]!r}: {shown(vocabulary[key])}" for key in wrong[:20]]
        raise ConfigError("A vocabulary has wrong ids.", where=where, problems=problems, expected=expected)
    return vocabulary


def to_added_token(token: TokenLike, normalized: bool = True, special: bool = False) -> AddedToken:
    """Convert a token to an `AddedToken`; `normalized` applies to plain texts."""
    if isinstance(token, Mapping):
        flags = {key: value for key, value in token.items() if key != "__type"}
        return AddedToken(**{**flags, "special": flags.get("special", False) or special})
    if isinstance(token, AddedToken):
        return AddedToken(**{**_token_state(token), "special": token.special or special})
    return AddedToken(str(token), normalized=normalized, special=special)


def _token_state(token: AddedToken) -> dict[str, Any]:
    names = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return {name: getattr(token, name) for name in names}


def _read_json_if_exists(path: Path) -> dict[str, Any]:
    return read_json(path) if os.path.lexists(path) else {}


def token_content(token: TokenLike | None) -> str | None:
    """Return the text of a token."""
    return token["content"] if isinstance(token, Mapping) else getattr(token, "content", token)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    with replace_file(path) as staging:
        staging.write_text(text, encoding="utf-8")


def _as_tensor(rows: list[list[int]] | list[int], kind: str) -> np.ndarray | paddle.Tensor:
    if rows and isinstance(rows[0], list) and len({len(row) for row in rows}) > 1:
        raise InputError(
            "The texts have different lengths and cannot be one tensor.", remedy='use padding=True or "max_length".'
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
