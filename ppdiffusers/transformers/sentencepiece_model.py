"""SentencePiece models (arXiv 1808.06226), loaded and executed by the `sentencepiece` library.

The library reads a model and tokenizes with it. It does not expose the normalization rules and cannot create a model
from a list of pieces; for these, the file is parsed as the protocol buffer message that it is.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.core.reading import read_bytes

if TYPE_CHECKING:
    from google.protobuf.message import Message

SPACE = "▁"  # U+2581 represents a space in pieces


class PieceType(IntEnum):
    """Type of a piece; files have further types, which only the library interprets."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4


class SentencePieceModel:
    """A SentencePiece model: pieces, normalization rules and the library's processor.

    Args:
        data: contents of a `.model` file.
        where: the file, for error messages.

    Raises:
        ConfigError: the data is not a SentencePiece model.
    """

    def __init__(self, data: bytes, where: str | os.PathLike | None = None):
        # imported here: only tokenizers of some families need the library
        from sentencepiece import SentencePieceProcessor

        self.data = data
        self._processor = SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(data)
        except RuntimeError as error:
            raise ConfigError(
                "The file is not a SentencePiece model, or it is damaged.",
                where=where,
                problems=[str(error)],
                remedy="download the file again.",
            ) from error

    @classmethod
    def read(cls, path: str | os.PathLike) -> SentencePieceModel:
        """Read a `.model` file."""
        return cls(read_bytes(path), path)

    @classmethod
    def from_pieces(
        cls, pieces: Iterable[tuple[str, float, PieceType]], precompiled_charsmap: bytes = b""
    ) -> SentencePieceModel:
        """Create a unigram model.

        Args:
            pieces: piece, log probability and type, in the order of the ids.
            precompiled_charsmap: compiled normalization rules; empty for none.
        """
        message = _model_proto()()
        for index, (piece, score, piece_type) in enumerate(pieces):
            message.pieces.add(piece=piece, score=score, type=piece_type)
            if piece_type == PieceType.UNKNOWN:
                message.trainer_spec.unk_id = index
        message.trainer_spec.model_type = _UNIGRAM
        message.normalizer_spec.precompiled_charsmap = precompiled_charsmap
        return cls(message.SerializeToString())

    def without_dummy_prefix(self) -> SentencePieceModel:
        """Return a copy of the model that does not insert a space in front of a text."""
        message = _model_proto().FromString(self.data)
        message.normalizer_spec.add_dummy_prefix = False
        return SentencePieceModel(message.SerializeToString())

    @functools.cached_property
    def pieces(self) -> tuple[str, ...]:
        """All pieces, in the order of their ids."""
        return tuple(self._processor.id_to_piece(index) for index in range(self._processor.get_piece_size()))

    @property
    def scores(self) -> tuple[float, ...]:
        """Log probability of each piece."""
        return tuple(self._processor.get_score(index) for index in range(self._processor.get_piece_size()))

    @property
    def unk_id(self) -> int:
        """Id of the unknown piece."""
        return self._processor.unk_id()

    def type_of(self, index: int) -> PieceType:
        """Return the type of a piece; all types except UNKNOWN and CONTROL are reported as NORMAL."""
        if self._processor.is_unknown(index):
            return PieceType.UNKNOWN
        return PieceType.CONTROL if self._processor.is_control(index) else PieceType.NORMAL

    @property
    def user_defined_pieces(self) -> tuple[str, ...]:
        """Pieces that the model's author defined, which are never split."""
        return tuple(p.piece for p in _model_proto().FromString(self.data).pieces if p.type == PieceType.USER_DEFINED)

    @property
    def is_unigram(self) -> bool:
        """Whether the pieces are those of a unigram language model, and not BPE merges, words or characters."""
        return _model_proto().FromString(self.data).trainer_spec.model_type == _UNIGRAM

    @property
    def precompiled_charsmap(self) -> bytes:
        """Compiled normalization rules; empty for none."""
        return _model_proto().FromString(self.data).normalizer_spec.precompiled_charsmap

    def encode(self, text: str) -> list[str]:
        """Split a text into pieces; text that no piece covers is returned as it is, one piece per run."""
        # The library rejects lone surrogates; they become "?".
        return self._processor.encode(text.encode("utf-8", errors="replace").decode("utf-8"), out_type=str)

    def decode(self, pieces: list[str]) -> str:
        """Join pieces into a text."""
        return self._processor.decode(pieces) if pieces else ""


_UNIGRAM = 1


@functools.cache
def _model_proto() -> type[Message]:
    """Return the protobuf message class `ModelProto` with the fields that are used here; others are kept unread.

    The module `sentencepiece.sentencepiece_model_pb2` is not used: it rejects every protobuf older than the one that
    the wheel was built with, and its registration in protobuf's global pool conflicts with the copies of the same
    schema in other packages.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_types = descriptor_pb2.FieldDescriptorProto
    messages = {
        "SentencePiece": [
            ("piece", 1, field_types.TYPE_STRING, ""),
            ("score", 2, field_types.TYPE_FLOAT, "0"),
            ("type", 3, field_types.TYPE_INT32, str(int(PieceType.NORMAL))),
        ],
        "TrainerSpec": [
            ("model_type", 3, field_types.TYPE_INT32, str(_UNIGRAM)),
            ("unk_id", 40, field_types.TYPE_INT32, "0"),
        ],
        "NormalizerSpec": [
            ("precompiled_charsmap", 2, field_types.TYPE_BYTES, ""),
            ("add_dummy_prefix", 3, field_types.TYPE_BOOL, "true"),
        ],
        "ModelProto": [
            ("pieces", 1, "SentencePiece", ""),
            ("trainer_spec", 2, "TrainerSpec", ""),
            ("normalizer_spec", 3, "NormalizerSpec", ""),
        ],
    }
    file = descriptor_pb2.FileDescriptorProto(name="ppdiffusers_sentencepiece.proto", package="ppdiffusers")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, number, kind, default in fields:
            nested = isinstance(kind, str)
            message.field.add(
                name=field,
                number=number,
                type=field_types.TYPE_MESSAGE if nested else kind,
                type_name=f".ppdiffusers.{kind}" if nested else None,
                label=field_types.LABEL_REPEATED if field == "pieces" else field_types.LABEL_OPTIONAL,
                default_value=default or None,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("ppdiffusers.ModelProto"))
