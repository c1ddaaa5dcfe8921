"""Small declarative rules that turn foreign names into ours. A pattern is a dotted path of whole segments: `*` stands
for exactly one segment, `**` for any number of them, none included; the new name takes them over in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Captured = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Rename:
    """One tensor under another name.

    Attributes:
        transpose: the tensor is a bare parameter that the other side keeps with its axes swapped. The weights of
            Linear layers are not meant: their layout is found by itself.
        optional: it may match nothing.
        ones: how many axes of length one the source has behind those of the target; negative: the target has them.
            A 1x1 convolution [out, in, 1, 1] is a Linear layer [out, in] with `ones=2`.
    """

    source: str
    target: str
    transpose: bool = False
    optional: bool = False
    ones: int = 0


@dataclass(frozen=True)
class Split:
    """One tensor becomes several, cut into equal parts along `axis` of the stored layout.

    Attributes:
        groups: the axis holds so many groups one after the other, each with its share of every part: attention heads
            that keep their queries, keys and values together.
        ones: as in `Rename`.
    """

    source: str
    targets: tuple[str, ...]
    axis: int = 0
    optional: bool = False
    groups: int = 1
    ones: int = 0


@dataclass(frozen=True)
class Merge:
    """Several tensors become one, joined along `axis` of the stored layout; the inverse of Split."""

    sources: tuple[str, ...]
    target: str
    axis: int = 0
    optional: bool = False
    groups: int = 1
    ones: int = 0


@dataclass(frozen=True)
class Drop:
    """A tensor that the target computes by itself or never reads."""

    source: str
    optional: bool = False


Rule = Rename | Split | Merge | Drop


@dataclass(frozen=True)
class Family:
    """One foreign naming.

    Attributes:
        name: what errors call it.
        present: a checkpoint is of this family if every one of these patterns matches some key of it,
        absent: and none of these does.
        rules: a key that none of them matches keeps its name.
    """

    name: str
    present: tuple[str, ...]
    rules: tuple[Rule, ...]
    absent: tuple[str, ...] = ()

    def fits(self, keys: Iterable[str]) -> bool:
        """Whether a checkpoint with these keys is of this family."""
        keys = list(keys)

        def found(pattern: str) -> bool:
            return any(match(pattern, key) is not None for key in keys)

        return all(map(found, self.present)) and not any(map(found, self.absent))


def match(pattern: str, key: str) -> Captured | None:
    """What each wildcard of `pattern` stands for in `key`; None when they do not match. `**` takes the shortest."""
    return _match(tuple(pattern.split(".")), tuple(key.split(".")))


def _match(pattern: tuple[str, ...], key: tuple[str, ...]) -> Captured | None:
    if not pattern:
        return () if not key else None
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        candidates = range(len(key) + 1)
    elif key and head in ("*", key[0]):
        candidates = range(1, 2)
    else:
        return None
    for count in candidates:
        captured = _match(rest, key[count:])
        if captured is not None:
            return (key[:count], *captured) if head in ("*", "**") else captured
    return None


def fill(pattern: str, captured: Captured) -> str:
    """Put what was captured in the place of the wildcards."""
    remaining = iter(captured)
    segments: list[str] = []
    for segment in pattern.split("."):
        segments.extend(next(remaining) if segment in ("*", "**") else (segment,))
    return ".".join(segments)


def wildcards(pattern: str) -> list[str]:
    """The wildcards of a pattern in their order."""
    return [segment for segment in pattern.split(".") if segment in ("*", "**")]


def inverse(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules that undo `rules`.

    Raises:
        ValueError: one of them drops something, which cannot be undone.
    """
    undo: dict[type, Callable] = {
        Rename: lambda rule: Rename(rule.target, rule.source, rule.transpose, rule.optional, -rule.ones),
        Split: lambda rule: Merge(rule.targets, rule.source, rule.axis, rule.optional, rule.groups, -rule.ones),
        Merge: lambda rule: Split(rule.target, rule.sources, rule.axis, rule.optional, rule.groups, -rule.ones),
    }
    rules = tuple(rules)
    drops = [rule for rule in rules if isinstance(rule, Drop)]
    if drops:
        raise ValueError(f"These rules have no inverse: {drops}.")
    return tuple(undo[type(rule)](rule) for rule in rules)
