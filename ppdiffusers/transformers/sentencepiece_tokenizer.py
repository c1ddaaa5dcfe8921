"""Base of the tokenizers whose vocabulary is a SentencePiece model (XLM-RoBERTa, T5, ...)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from ppdiffusers.core.files import replace_file
from ppdiffusers.transformers.sentencepiece_model import SPACE, SentencePieceModel
from ppdiffusers.transformers.tokenization_utils import PretrainedTokenizer, TokenLike


class SentencePieceTokenizer(PretrainedTokenizer):
    """Tokenize with a SentencePiece model; ids are equal to those of transformers' slow tokenizers.

    A subclass sets `special_names`, `first_token` and `last_token` (None for no token), and `model_file`. If ids differ
    from the positions of the pieces in the model, it passes `vocabulary`.

    Args:
        model: the SentencePiece model.
        specials: name -> token, for each of `special_names`.
        vocabulary: piece -> id; by default the position of each piece in the model.
        legacy: insert a space in front of each part of a text that follows a special token; False inserts one in front
            of the whole text only, as `legacy=False` does in transformers.
        add_prefix_space: False inserts no space in front of the whole text, with `legacy=False`.
        settings: see `PretrainedTokenizer`.

    Class attributes:
        model_file: name of the model's file in a folder.
    """

    model_file: ClassVar[str] = "spiece.model"

    def __init__(
        self,
        model: SentencePieceModel,
        specials: Mapping[str, TokenLike],
        vocabulary: Mapping[str, int] | None = None,
        legacy: bool = True,
        add_prefix_space: bool = True,
        **settings: Any,
    ):
        self.model, self.legacy, self.add_prefix_space = model, legacy, add_prefix_space
        self._encoder_model = model if legacy else model.without_dummy_prefix()
        if vocabulary is None:
            vocabulary = {piece: index for index, piece in enumerate(model.pieces)}
        super().__init__(vocabulary, specials, **settings)

    def _encode_text(self, text: str) -> list[int]:
        if self.legacy or not text:
            return super()._encode_text(text)
        prefix = SPACE if self.add_prefix_space else ""
        return super()._encode_text(prefix + text.replace(SPACE, " "))

    def _split_on_added_tokens(self, text: str, added: dict[str, int]) -> list[str]:
        segments = super()._split_on_added_tokens(text, added)
        # the inserted space is removed in front of a special token
        is_special = not self.legacy and len(segments) > 1 and segments[1] in self.all_special_tokens
        return segments[1:] if is_special and self._pieces_of(segments[0]) == [SPACE] else segments

    def _encode_segment(self, text: str) -> list[int]:
        unknown = self.unk_token_id
        return [self._vocabulary.get(piece, unknown) for piece in self._pieces_of(text)]

    def _pieces_of(self, text: str) -> list[str]:
        if self.legacy or not text.startswith((SPACE, " ")):
            return self._encoder_model.encode(text)
        # The library removes leading spaces, so that a text is placed in front of the space and its pieces are removed.
        pieces = self._encoder_model.encode(self.unk_token + text)
        return pieces[len(self._encoder_model.encode(self.unk_token)) :]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return self.model.decode(tokens)

    def _save_vocabulary(self, folder: Path) -> None:
        with replace_file(folder / self.model_file) as staging:
            staging.write_bytes(self.model.data)


def unigram_backend(
    pieces: Iterable[tuple[str, float]], unk_id: int, precompiled_charsmap: bytes, prepend_scheme: str = "always"
) -> Tokenizer:
    """Create the `tokenizers` object that transformers' fast tokenizers use for a unigram model.

    Its normalization differs from SentencePiece's for some combined characters.

    Args:
        pieces: piece and log probability, in the order of the ids.
        unk_id: id of the unknown token.
        precompiled_charsmap: compiled normalization rules; empty for none.
        prepend_scheme: where to insert a space: "always" in front of each part of a text, "first" in front of the first
            part only, or "never".
    """
    backend = Tokenizer(Unigram(list(pieces), unk_id=unk_id))
    rules = [normalizers.Precompiled(precompiled_charsmap)] if precompiled_charsmap else []
    spaces = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), SPACE)]
    backend.normalizer = normalizers.Sequence([*rules, *spaces])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=prepend_scheme)
    backend.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme=prepend_scheme)
    return backend
