"""A pickle interpreter that imports nothing and calls nothing of the file's choosing.

Every global that a pickle names is looked up in a table given by the caller; one that is not there becomes an inert
`Refused` value, and after the pickle has been read all of them are reported together. Long byte strings are not
read: they become a `Span` of the file, so that a checkpoint's arrays stay where they are until asked for.
"""

from __future__ import annotations

import reprlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ppdiffusers.core.errors import UnsafeFileError, WeightsError

_LAZY_FROM = 1024  # byte strings (and texts that carry bytes) longer than this stay in the file
_LONGEST_NUMBER = 1024  # bytes


class BadPickle(Exception):
    """The bytes are not a well-formed pickle; the reader of the file turns it into a WeightsError."""


@dataclass(frozen=True)
class Span:
    """Bytes that lie in the file: `length` bytes at `offset`; `text` when they are UTF-8 of a str."""

    offset: int
    length: int
    text: bool = False


@dataclass
class Refused:
    """Stands for a global that is not in the table, and for whatever was made with it."""

    name: str


@dataclass(eq=False)
class Inert:
    """An object of a harmless type that we need nothing of; `state` is what a BUILD gave it."""

    name: str
    arguments: tuple = ()
    state: Any = None


def shown(value: Any) -> str:
    """A short text for an error: a hostile file's value may be endless when written out."""
    return reprlib.repr(value)


class _Mark:
    pass


_MARK = _Mark()


@dataclass
class PickleMachine:
    """Reads one pickle after another from a seekable binary stream.

    Attributes:
        stream: where from.
        size: bytes of the stream that belong to it, counted from its beginning.
        table: "module name" -> callable or value that stands for that global.
        persistent: what a persistent id becomes.
    """

    stream: BinaryIO
    size: int
    table: Mapping[str, Any]
    persistent: Callable[[Any], Any] | None = None
    refused: set[str] = field(default_factory=set)

    def load(self) -> Any:
        """Read one pickle, up to its STOP.

        Raises:
            BadPickle: the bytes are not a pickle.
        """
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        try:
            while True:
                code = self._take(1)
                if code == b".":
                    return self._stack.pop()
                operation = _OPERATIONS.get(code)
                if operation is None:
                    raise BadPickle(f"unknown opcode {code!r}")
                operation(self)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
            raise BadPickle(f"{type(error).__name__}: {error}") from error
        except RecursionError as error:
            raise BadPickle("nested too deeply") from error

    # -- bytes ------------------------------------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        if count < 0 or count > self.size - self.stream.tell():
            raise BadPickle("the data ends in the middle of the pickle")
        return self.stream.read(count)

    def _number(self, form: str) -> int:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _line(self) -> str:
        line = self.stream.readline(65536)
        if not line.endswith(b"\n"):
            raise BadPickle("the data ends in the middle of a line")
        return line[:-1].decode("utf-8")

    def _payload(self, length: int, text: bool = False) -> Any:
        if length < 0 or length > self.size - self.stream.tell():
            raise BadPickle("the data ends in the middle of a byte string")
        if length > _LAZY_FROM:
            span = Span(self.stream.tell(), length, text)
            self.stream.seek(length, 1)
            return span
        taken = self.stream.read(length)
        return taken.decode("utf-8", "surrogatepass") if text else taken

    # -- stack ------------------------------------------------------------------------------------------------

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _to_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise BadPickle("a mark is missing")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _pop(self, count: int) -> list[Any]:
        items = self._stack[len(self._stack) - count :]
        if len(items) < count or any(item is _MARK for item in items):
            raise BadPickle("the stack is too short")
        del self._stack[len(self._stack) - count :]
        return items

    def _global(self, module: str, name: str) -> None:
        full = f"{module} {name}"
        if full in self.table:
            self._push(self.table[full])
        else:
            self.refused.add(f"{module}.{name}")
            self._push(Refused(f"{module}.{name}"))

    def _call(self, function: Any, arguments: Any) -> None:
        if not isinstance(arguments, tuple):
            raise BadPickle("a call without a tuple of arguments")
        if isinstance(function, Refused) or any(isinstance(argument, Refused) for argument in arguments):
            self._push(function if isinstance(function, Refused) else Refused("argument"))
        elif callable(function):
            self._push(function(*arguments))
        else:
            raise BadPickle(f"{shown(function)} is called")

    def _build(self) -> None:
        target, state = self._pop(2)
        if hasattr(target, "set_pickle_state"):
            target.set_pickle_state(state)
        elif isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, (Refused, dict)):  # an OrderedDict's own attributes (`_metadata`) are not needed
            raise BadPickle(f"a state for a {type(target).__name__}")
        self._push(target)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if len(items) % 2:
            raise BadPickle("a key without a value")
        if isinstance(target, Refused):
            return
        if not isinstance(target, dict):
            raise BadPickle("items for what is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_hashable(key)] = value

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            target.update(map(_hashable, items))
        elif not isinstance(target, Refused):
            raise BadPickle("elements for what is not a list")

    def _persist(self, identifier: Any) -> None:
        if self.persistent is None:
            raise BadPickle("a persistent id, which this kind of file does not have")
        self._push(self.persistent(identifier))

    def _memoize(self, index: int) -> None:
        self._memo[index] = self._stack[-1]


def _hashable(key: Any) -> Any:
    # Names and numbers are kept. Anything else stands for itself only: hashing tuples of tuples of tuples that a
    # hostile file makes can take for ever.
    plain = key is None or isinstance(key, (str, bytes, int, float, Span))
    return key if plain else f"<{type(key).__name__} {id(key)}>"


def _int_line(m: PickleMachine) -> None:
    line = m._line()
    if len(line) > _LONGEST_NUMBER:
        raise BadPickle("an endless number")
    m._push({"00": False, "01": True}[line] if line in ("00", "01") else int(line.rstrip("L")))


def _long(m: PickleMachine, length: int) -> None:
    if not 0 <= length <= _LONGEST_NUMBER:
        raise BadPickle("an endless number")
    m._push(int.from_bytes(m._take(length), "little", signed=True))


def _quoted_line(m: PickleMachine) -> None:
    line = m._line()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        raise BadPickle("a text without quotes")
    m._push(line[1:-1])


def _dictionary(m: PickleMachine) -> None:
    items = m._to_mark()
    m._push({})
    m._set_items(items)


def _append(m: PickleMachine) -> None:
    m._extend(m._pop(1))


def _set_item(m: PickleMachine) -> None:
    m._set_items(m._pop(2))


def _reduce(m: PickleMachine) -> None:
    m._call(*m._pop(2))


def _new_with_keywords(m: PickleMachine) -> None:
    function, arguments, keywords = m._pop(3)
    if keywords:
        raise BadPickle("a constructor with keywords")
    m._call(function, arguments)


def _instance(m: PickleMachine) -> None:
    module, name = m._line(), m._line()
    arguments = m._to_mark()
    m._global(module, name)
    m._call(m._stack.pop(), tuple(arguments))


def _object(m: PickleMachine) -> None:
    function, *arguments = m._to_mark()
    m._call(function, tuple(arguments))


def _stack_global(m: PickleMachine) -> None:
    module, name = m._pop(2)
    if not isinstance(module, str) or not isinstance(name, str):
        raise BadPickle("a global whose name is no text")
    m._global(module, name)


_OPERATIONS: dict[bytes, Callable[[PickleMachine], Any]] = {
    # frames and protocol
    b"\x80": lambda m: m._take(1),
    b"\x95": lambda m: m._take(8),
    # constants
    b"N": lambda m: m._push(None),
    b"\x88": lambda m: m._push(True),
    b"\x89": lambda m: m._push(False),
    b"I": _int_line,
    b"L": _int_line,
    b"J": lambda m: m._push(m._number("<i")),
    b"K": lambda m: m._push(m._number("<B")),
    b"M": lambda m: m._push(m._number("<H")),
    b"\x8a": lambda m: _long(m, m._number("<B")),
    b"\x8b": lambda m: _long(m, m._number("<i")),
    b"F": lambda m: m._push(float(m._line())),
    b"G": lambda m: m._push(m._number(">d")),
    # texts and bytes
    b"S": _quoted_line,
    b"T": lambda m: m._push(m._payload(m._number("<i"))),
    b"U": lambda m: m._push(m._take(m._number("<B")).decode("latin1")),
    b"V": lambda m: m._push(m._line()),
    b"X": lambda m: m._push(m._payload(m._number("<I"), text=True)),
    b"\x8c": lambda m: m._push(m._payload(m._number("<B"), text=True)),
    b"\x8d": lambda m: m._push(m._payload(m._number("<Q"), text=True)),
    b"B": lambda m: m._push(m._payload(m._number("<I"))),
    b"C": lambda m: m._push(m._payload(m._number("<B"))),
    b"\x8e": lambda m: m._push(m._payload(m._number("<Q"))),
    b"\x96": lambda m: m._push(m._payload(m._number("<Q"))),
    # containers
    b"]": lambda m: m._push([]),
    b")": lambda m: m._push(()),
    b"}": lambda m: m._push({}),
    b"\x8f": lambda m: m._push(set()),
    b"(": lambda m: m._push(_MARK),
    b"l": lambda m: m._push(m._to_mark()),
    b"t": lambda m: m._push(tuple(m._to_mark())),
    b"\x85": lambda m: m._push(tuple(m._pop(1))),
    b"\x86": lambda m: m._push(tuple(m._pop(2))),
    b"\x87": lambda m: m._push(tuple(m._pop(3))),
    b"d": _dictionary,
    b"\x91": lambda m: m._push(frozenset(map(_hashable, m._to_mark()))),
    b"a": _append,
    b"e": lambda m: m._extend(m._to_mark()),
    b"\x90": lambda m: m._extend(m._to_mark()),
    b"s": _set_item,
    b"u": lambda m: m._set_items(m._to_mark()),
    # stack and memo
    b"0": lambda m: m._stack.pop(),
    b"1": lambda m: m._to_mark(),
    b"2": lambda m: m._push(m._stack[-1]),
    b"g": lambda m: m._push(m._memo[int(m._line())]),
    b"h": lambda m: m._push(m._memo[m._number("<B")]),
    b"j": lambda m: m._push(m._memo[m._number("<I")]),
    b"p": lambda m: m._memoize(int(m._line())),
    b"q": lambda m: m._memoize(m._number("<B")),
    b"r": lambda m: m._memoize(m._number("<I")),
    b"\x94": lambda m: m._memoize(len(m._memo)),
    # objects
    b"c": lambda m: m._global(m._line(), m._line()),
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _reduce,
    b"\x92": _new_with_keywords,
    b"i": _instance,
    b"o": _object,
    b"b": lambda m: m._build(),
    b"P": lambda m: m._persist(m._line()),
    b"Q": lambda m: m._persist(m._pop(1)[0]),
}


def refuse_unsafe(machine: PickleMachine, path: Path) -> None:
    """Raise one error for everything the pickles of a file wanted that is not on the list of harmless types.

    Raises:
        UnsafeFileError: there was something; nothing of it was imported or called.
    """
    if machine.refused:
        raise UnsafeFileError(
            "This checkpoint wants to import things that a checkpoint does not need; nothing was run.",
            where=path,
            problems=sorted(machine.refused),
            expected="tensors, numbers, texts and plain containers only",
            remedy="use a .safetensors file of the same weights, or save only the state dict, on a machine you trust.",
        )


def damaged_pickle(path: Path, error: object) -> WeightsError:
    """The error for a pickle that cannot be read."""
    return WeightsError(
        f"This weights file is truncated or damaged: {error}.", where=path, remedy="fetch or save the file again."
    )
