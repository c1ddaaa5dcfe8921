"""Read pickles without importing or calling anything that a file names.

`pickle.Unpickler` builds the objects, and its `find_class` looks every global up in a table of the caller; a global
that is not in the table becomes an inert `Refused` object, and all of them are reported together at the end.

Before that, the opcodes are copied once into a pickle in memory (`_Sanitizer`), for two reasons. Long byte strings stay
in the file: the copy has a persistent id in their place, which becomes a `Span`. And what `pickle.Unpickler` would do
without limits is limited: the number of opcodes, the length of integers, memo indices. Sets become lists and
dictionaries become `PickledDict`s, so that no key of the file's choosing is hashed: hashing nested tuples can take
forever or overflow the stack.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ppdiffusers.core.errors import UnsafeFileError, WeightsError

_INLINE = 1024  # byte strings and strings longer than this many bytes stay in the file
_LONGEST_NUMBER = 1024  # bytes
_LONGEST_LINE = 65536  # bytes
_MOST_OPCODES = 1_000_000  # a checkpoint needs about 40 for each tensor
_MOST_ARGUMENTS = 64  # of a call
_MOST_NUMBERS = 8192  # keys of a dictionary that are integers
_LARGEST_COPY = 256 << 20  # bytes of opcodes and short strings


class BadPickle(Exception):
    """The bytes are not a well-formed pickle; the reader of the file turns it into a WeightsError."""


@dataclass(frozen=True)
class Span:
    """Bytes in the file: `length` bytes at `offset`; `is_text` when they are the UTF-8 of a str."""

    offset: int
    length: int
    is_text: bool = False

    def __setstate__(self, state: object) -> None:
        raise BadPickle("a state for bytes")


class Refused:
    """A stand-in for a global that is not in the table, and for everything that is made with it."""

    __slots__ = ()

    def __call__(self, *arguments: object) -> Refused:
        _check_count(arguments)
        return self

    def _ignore(self, *_: object) -> None:
        """Do nothing."""

    __setstate__ = __setitem__ = append = extend = _ignore


class Inert:
    """An object of a harmless type whose content is not needed."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


class PickledDict(dict):
    """A dictionary of a pickle. Strings, integers and None are kept as keys, other keys become unique strings.

    The hash of an integer is its value, so a file can choose integers that collide, and make every access
    slow. Their number is limited, and no key is given twice.
    """

    __slots__ = ()

    def __setitem__(self, key: object, value: object) -> None:
        if type(key) is int and len(self) >= _MOST_NUMBERS:
            raise BadPickle(f"a dictionary with more than {_MOST_NUMBERS} items and an integer as a key")
        plain = (
            key is None or isinstance(key, str) or (type(key) is int and abs(key) < 2**60)
        )  # no two hashes are equal
        name = key if plain else f"<{type(key).__name__} {len(self)}>"
        if name in self:
            raise BadPickle(f"the key {shown(name)} is given twice")
        super().__setitem__(name, value)

    def __setstate__(self, state: object) -> None:
        """Ignore the attributes of an OrderedDict, such as `_metadata`."""


class _Callable:
    """A function of the table. The pickle can call it, and cannot change it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]):
        self._function = function

    def __call__(self, *arguments: object) -> object:
        _check_count(arguments)
        refused = next((argument for argument in arguments if isinstance(argument, Refused)), None)
        return self._function(*arguments) if refused is None else refused

    def __setstate__(self, state: object) -> None:
        raise BadPickle("a state for a class")


def _check_count(arguments: tuple[object, ...]) -> None:
    # A tuple of a million arguments can be given to a million calls, and each of them copies it.
    if len(arguments) > _MOST_ARGUMENTS:
        raise BadPickle(f"a call with {len(arguments)} arguments")


DICT = object()  # in a table: a dictionary, made empty or from a list of pairs
_NEW_DICT = b"cppdiffusers\ndict\n)R"  # the opcodes that make one

# What pickle.Unpickler and the functions of the tables raise for malformed pickles.
_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def load_pickle(
    stream: BinaryIO,
    path: Path,
    table: Mapping[str, object],
    persistent: Callable[[object], object] | None = None,
    most_opcodes: int = _MOST_OPCODES,
) -> Any:
    """Read one pickle from a seekable stream, up to its STOP opcode.

    Args:
        stream: where to read; it is left behind the pickle.
        path: the file, for messages.
        table: "module name" -> callable, `DICT`, or another object that stands for that global.
        persistent: returns the object for a persistent id; None if this kind of file has none.
        most_opcodes: how many opcodes the pickle may have.

    Raises:
        BadPickle: the bytes are not a pickle that a checkpoint can have.
        UnsafeFileError: the pickle names globals that are not in the table; nothing was imported or called.
    """
    unpickler = _Unpickler(_Sanitizer(stream, most_opcodes), table, persistent)
    try:
        loaded = unpickler.load()
    except (BadPickle, *_ERRORS) as error:
        _check_refused(unpickler.refused, path)
        raise BadPickle(str(error) or type(error).__name__) from error
    _check_refused(unpickler.refused, path)
    return loaded


class _Unpickler(pickle.Unpickler):
    def __init__(self, opcodes: _Sanitizer, table: Mapping[str, object], persistent: Callable[[object], object] | None):
        super().__init__(io.BytesIO(opcodes.copy), encoding="latin1")
        self._spans, self._table, self._persistent = opcodes.spans, table, persistent
        self._pairs_left = opcodes.count  # every pair of a list of pairs took an opcode
        self.refused: set[str] = set()

    def find_class(self, module: str, name: str) -> object:
        key = f"{module} {name}"
        if key == "ppdiffusers dict" or self._table.get(key) is DICT:
            return _Callable(self._make_dict)
        if key not in self._table:
            self.refused.add(f"{module}.{name}")
            return Refused()
        value = self._table[key]
        return _Callable(value) if callable(value) else value

    def persistent_load(self, identifier: object) -> object:
        if type(identifier) is int:  # written by the sanitizer
            return self._spans[identifier]
        if self._persistent is None:
            raise BadPickle("a persistent id, which this kind of file does not have")
        return self._persistent(identifier)

    def _make_dict(self, items: object = (), *_: object) -> PickledDict:
        if isinstance(items, PickledDict):
            return items
        if not isinstance(items, (list, tuple)):
            raise BadPickle(f"a dictionary made from {shown(items)}")
        self._pairs_left -= len(items)
        if self._pairs_left < 0:
            raise BadPickle("the same list is copied again and again")
        made = PickledDict()
        for key, value in items:
            made[key] = value
        return made


def _check_refused(refused: set[str], path: Path) -> None:
    if refused:
        raise UnsafeFileError(
            "This checkpoint names Python objects that no checkpoint needs; nothing was imported or run.",
            where=path,
            problems=sorted(refused),
            expected="tensors, numbers, strings and plain containers only",
            remedy="use a .safetensors file of the same weights, or save only the state dict on a trusted machine.",
        )


# -- opcodes ----------------------------------------------------------------------------------------------------

_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}
_SIZED = {  # how pickletools encodes "a length field comes first" -> bytes of that field
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_FRAMING = (b"\x80", b"\x95")  # PROTO, FRAME: nothing of them is needed
_EXTENSIONS = (b"\x82", b"\x83", b"\x84")  # EXT1, EXT2, EXT4: globals by number
_TEXTS = (b"X", b"\x8c", b"\x8d")  # BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
_LONGS = (b"\x8a", b"\x8b")  # LONG1, LONG4
_NUMBER_LINES = (b"I", b"L", b"F", b"g", b"p")  # INT, LONG, FLOAT, GET, PUT
_TWO_LINES = (b"c", b"i")  # GLOBAL, INST: module and name
_REPLACED = {
    b"\x8f": b"]",  # EMPTY_SET -> EMPTY_LIST
    b"\x90": b"e",  # ADDITEMS -> APPENDS
    b"\x91": b"l",  # FROZENSET -> LIST
    b"}": _NEW_DICT,  # EMPTY_DICT
    b"\x81": b"R",  # NEWOBJ -> REDUCE: nothing that `find_class` returns is a class
    b"\x92": b"0R",  # NEWOBJ_EX -> POP the keywords, REDUCE
    b"\x96": b"\x8e",  # BYTEARRAY8 -> BINBYTES8
}


class _Sanitizer:
    """A copy of the opcodes of one pickle, with long strings left in the file.

    Attributes:
        copy: the opcodes.
        spans: the long strings, by the persistent ids that stand for them.
        count: the number of opcodes.
    """

    def __init__(self, stream: BinaryIO, most_opcodes: int):
        self._stream = stream
        self.copy, self.count = bytearray(), 0
        self.spans: list[Span] = []
        previous = code = b""
        while code != b".":
            previous, code = code, self._take(1)
            self.count += 1
            if self.count > most_opcodes or len(self.copy) > _LARGEST_COPY:
                raise BadPickle("it has more objects than any checkpoint needs")
            self._copy_opcode(code, previous)

    def _copy_opcode(self, code: bytes, previous: bytes) -> None:
        opcode = _OPCODES.get(code)
        if opcode is None or code in _EXTENSIONS:
            raise BadPickle(f"unknown opcode {code!r}")
        if code == b"d":  # DICT; pickle writes it after a MARK, to make an empty dictionary
            if previous != b"(":
                raise BadPickle("a dictionary with items in its opcode")
            self.copy += b"1" + _NEW_DICT  # POP_MARK
            return
        argument = b"" if opcode.arg is None else self._argument(code, opcode.arg.n)
        if argument is not None and code not in _FRAMING:
            self.copy += _REPLACED.get(code, code) + argument

    def _argument(self, code: bytes, kind: int) -> bytes | None:
        """Read the argument of an opcode; None if a persistent id was written for both of them."""
        if kind >= 0:
            argument = self._take(kind)
            if code == b"r":  # LONG_BINPUT
                self._check_memo_index(int.from_bytes(argument, "little"))
            return argument
        if kind == pickletools.UP_TO_NEWLINE:
            lines = self._line(code) + (self._line(code) if code in _TWO_LINES else b"")
            if code == b"p":  # PUT
                self._check_memo_index(_decimal(lines))
            return lines
        width = self._take(_SIZED[kind])
        length = int.from_bytes(width, "little", signed=kind == pickletools.TAKEN_FROM_ARGUMENT4)
        if code in _LONGS and length > _LONGEST_NUMBER:
            raise BadPickle(f"an integer of {length} bytes")
        if not 0 <= length < 2**40:  # no file is longer, and seek would fail
            raise BadPickle(f"a string of {length} bytes")
        if length <= _INLINE:
            return width + self._take(length)
        self.copy += b"J" + len(self.spans).to_bytes(4, "little") + b"Q"  # BININT, BINPERSID
        self.spans.append(Span(self._stream.tell(), length, code in _TEXTS))
        self._stream.seek(length, io.SEEK_CUR)  # beyond the end, the next opcode is missing
        return None

    def _check_memo_index(self, index: int) -> None:
        if not 0 <= index <= self.count:  # pickle.Unpickler keeps an array as long as the largest index
            raise BadPickle("a memo index that is larger than the number of objects")

    def _take(self, count: int) -> bytes:
        taken = self._stream.read(count)
        if len(taken) < count:
            raise BadPickle("the data ends in the middle of the pickle")
        return taken

    def _line(self, code: bytes) -> bytes:
        line = self._stream.readline(_LONGEST_NUMBER if code in _NUMBER_LINES else _LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise BadPickle("a line is too long, or the data ends in the middle of it")
        return line


def _decimal(line: bytes) -> int:
    try:
        return int(line)
    except ValueError as error:
        raise BadPickle(f"a memo index {line[:20]!r}") from error


# -- messages ---------------------------------------------------------------------------------------------------


def shown(value: object) -> str:
    """Describe a value of a pickle in a message, in bounded time and length."""
    if isinstance(value, tuple) and len(value) <= 8:
        return f"({', '.join(_shown_item(item) for item in value)})"
    return _shown_item(value)


def _shown_item(value: object) -> str:
    plain = value is None or isinstance(value, (str, bytes, int, float, Span))
    return reprlib.repr(value) if plain else f"a {type(value).__name__.lstrip('_')}"


def damaged_pickle(path: Path, error: object) -> WeightsError:
    """Make the error for a pickle that cannot be read."""
    return WeightsError(
        f"This weights file is truncated or damaged: {error}.", where=path, remedy="download or save the file again."
    )
