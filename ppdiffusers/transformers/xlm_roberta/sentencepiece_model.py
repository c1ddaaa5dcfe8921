"""SentencePiece models (arXiv 1808.06226): their files, and their normalisation of text.

A file is one protocol buffer message; the few fields that matter are read and written here, so that the library
`sentencepiece` is not needed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ppdiffusers.core.errors import ConfigError

SPACE = "▁"  # U+2581 stands for a space
NORMAL, UNKNOWN, CONTROL = 1, 2, 3
_UNIGRAM = 1
# wire types of protocol buffers
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True)
class SentencePieceModel:
    """A unigram vocabulary and how text is prepared for it.

    Attributes:
        pieces: (text, logarithm of its probability, NORMAL, UNKNOWN or CONTROL), in the order of their ids.
        charsmap: the compiled replacements of characters; empty for none.
        add_dummy_prefix: a text begins with a space.
        remove_extra_whitespaces: spaces at the ends and behind spaces are left out.
    """

    pieces: tuple[tuple[str, float, int], ...]
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True

    # -- files ----------------------------------------------------------------------------------------------------

    @classmethod
    def read(cls, path: str | os.PathLike) -> SentencePieceModel:
        """Read a `.model` file.

        Raises:
            ConfigError: it is damaged, or of a kind that is not a plain unigram vocabulary.
        """
        try:
            pieces, settings = [], {}
            for field, value in _fields(Path(path).read_bytes()):
                if field == 1:
                    pieces.append(_piece(value))
                elif field == 2:
                    settings["kind"] = dict(_fields(value)).get(3, _UNIGRAM)
                elif field == 3:
                    settings["normalizer"] = dict(_fields(value))
        except (ValueError, struct.error, IndexError, TypeError) as error:
            raise ConfigError("This is no SentencePiece model.", where=path, problems=[str(error)]) from error
        problems = []
        if settings.get("kind", _UNIGRAM) != _UNIGRAM:
            problems.append("it is not a unigram model")
        strange = [text for text, _, kind in pieces if kind not in (NORMAL, UNKNOWN, CONTROL)]
        if strange:
            problems.append(f"pieces of unknown kinds: {', '.join(map(repr, strange[:5]))}")
        if [kind for _, _, kind in pieces[:3]] != [UNKNOWN, CONTROL, CONTROL]:
            problems.append("its first pieces are not the unknown one and two control ones")
        if problems:
            raise ConfigError("This SentencePiece model cannot be used.", where=path, problems=problems)
        normalizer = settings.get("normalizer", {})
        return cls(tuple(pieces), normalizer.get(2, b""), bool(normalizer.get(3, 1)), bool(normalizer.get(4, 1)))

    def to_bytes(self) -> bytes:
        """What a `.model` file holds."""
        normalizer = _message(2, self.charsmap) if self.charsmap else b""
        normalizer += _number(3, self.add_dummy_prefix) + _number(4, self.remove_extra_whitespaces) + _number(5, 1)
        pieces = b"".join(
            _message(1, _message(1, text.encode("utf-8")) + struct.pack("<Bf", 2 << 3 | _FOUR_BYTES, s) + _number(3, k))
            for text, s, k in self.pieces
        )
        return pieces + _message(2, _number(3, _UNIGRAM)) + _message(3, normalizer)

    # -- text -----------------------------------------------------------------------------------------------------

    def normalize(self, text: str) -> str:
        """Text as the vocabulary spells it: characters replaced, one `▁` for each run of spaces and before the text."""
        words, after_space = [], self.remove_extra_whitespaces
        for part in self._replaced(text):
            part = part.lstrip(" ") if after_space else part
            if part:
                words.append(part)
                after_space = self.remove_extra_whitespaces and part.endswith(" ")
        line = "".join(words)
        if not line:
            return ""
        line = ((" " if self.add_dummy_prefix else "") + line).replace(" ", SPACE)
        return line.rstrip(SPACE) if self.remove_extra_whitespaces else line

    def _replaced(self, text: str) -> Iterator[str]:
        """The text piece by piece: the longest replacement at each place, or the character itself."""
        data, at = text.encode("utf-8", errors="replace"), 0
        while at < len(data):
            found = self._longest(data, at)
            if found is None:
                size = 1 + sum(data[at] >= first for first in (0xC0, 0xE0, 0xF0))  # bytes of this character
                yield data[at : at + size].decode("utf-8")
                at += size
            else:
                length, offset = found
                yield self._replacements[offset : self._replacements.index(b"\0", offset)].decode("utf-8")
                at += length

    def _longest(self, data: bytes, at: int) -> tuple[int, int] | None:
        """(bytes, offset of the replacement) of the longest entry of the trie that begins at `at`."""
        units, found = self._units, None
        if not units:
            return None
        node = _offset(units[0])
        for n in range(at, len(data)):
            node ^= data[n]
            if node >= len(units) or units[node] & 0x800000FF != data[n]:
                break
            unit = units[node]
            node ^= _offset(unit)
            if unit >> 8 & 1:  # an entry ends here; its value stands at the new place
                found = n + 1 - at, units[node] & 0x7FFFFFFF
        return found

    @cached_property
    def _units(self) -> list[int]:
        """The trie: a double array of 32-bit units (Darts)."""
        if not self.charsmap:
            return []
        (size,) = struct.unpack_from("<I", self.charsmap)
        return list(struct.unpack_from(f"<{size // 4}I", self.charsmap, 4))

    @cached_property
    def _replacements(self) -> bytes:
        """Texts that end with a zero byte, behind the trie."""
        (size,) = struct.unpack_from("<I", self.charsmap)
        return self.charsmap[4 + size :]


def _offset(unit: int) -> int:
    return (unit >> 10) << ((unit & 0x200) >> 6)


# -- protocol buffers -----------------------------------------------------------------------------------------------


def _piece(message: bytes) -> tuple[str, float, int]:
    fields = dict(_fields(message))
    (score,) = struct.unpack("<f", fields.get(2, bytes(4)))
    return fields.get(1, b"").decode("utf-8"), score, fields.get(3, NORMAL)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message: numbers for varints, bytes for everything else."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
        else:
            if kind == _LENGTH:
                size, at = _varint(message, at)
            elif kind in (_FOUR_BYTES, _EIGHT_BYTES):
                size = 4 if kind == _FOUR_BYTES else 8
            else:
                raise ValueError(f"wire type {kind} at byte {at}")
            value, at = message[at : at + size], at + size
            if at > len(message):
                raise ValueError(f"a field ends {at - len(message)} bytes behind the end")
        yield tag >> 3, value


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """(number, place behind it): seven bits a byte, the lowest first."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _number(field: int, value: int) -> bytes:
    return _as_varint(field << 3 | _VARINT) + _as_varint(int(value))


def _message(field: int, content: bytes) -> bytes:
    return _as_varint(field << 3 | _LENGTH) + _as_varint(len(content)) + content


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
