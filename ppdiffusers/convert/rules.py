"""Declarative rules that map foreign key names to ours.

A pattern is a dotted path of whole segments: `*` matches exactly one segment, `**` any number of segments, including
none. The wildcards of the new name are filled with the matched segments, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

Captured = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Rename:
    """Rename a tensor.

    Attributes:
        transpose: swap the axes of a bare parameter. The weights of Linear layers are transposed by `convert.layout`.
        optional: the rule may match nothing.
        ones: number of trailing axes of length one that the source has and the target does not; negative: the target
            has them. A 1x1 convolution [out, in, 1, 1] becomes a Linear layer [out, in] with `ones=2`.
        leading: the same of leading axes: a row [1, N] becomes a vector [N] with `leading=1`.
    """

    source: str
    target: str
    transpose: bool = False
    optional: bool = False
    ones: int = 0
    leading: int = 0


@dataclass(frozen=True)
class Split:
    """Split a tensor into equal parts along `axis` of the stored layout.

    Attributes:
        groups: number of consecutive groups on the axis, each with a share of every part: attention heads that store
            their queries, keys and values together.
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
    """Merge several tensors along `axis` of the stored layout; the inverse of Split."""

    sources: tuple[str, ...]
    target: str
    axis: int = 0
    optional: bool = False
    groups: int = 1
    ones: int = 0


@dataclass(frozen=True)
class Drop:
    """Drop a tensor that the target computes or does not need."""

    source: str
    optional: bool = False


Rule = Rename | Split | Merge | Drop


@dataclass(frozen=True)
class KeyMapping:
    """The rules for the key names of one foreign implementation.

    Attributes:
        name: its name in errors.
        present: patterns that must all match keys of a checkpoint for the mapping to be applied.
        rules: the rules; a key that no rule matches keeps its name.
        absent: patterns that must not match any key.
    """

    name: str
    present: tuple[str, ...]
    rules: tuple[Rule, ...]
    absent: tuple[str, ...] = ()

    def matches(self, keys: Iterable[str]) -> bool:
        """Return whether a checkpoint with these keys has these names."""
        keys = list(keys)

        def found(pattern: str) -> bool:
            return any(match(pattern, key) is not None for key in keys)

        return all(map(found, self.present)) and not any(map(found, self.absent))


def match(pattern: str, key: str) -> Captured | None:
    """Return the segments that the wildcards of `pattern` match in `key`, or None; `**` is not greedy."""
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
    """Replace the wildcards of a pattern with captured segments."""
    remaining = iter(captured)
    segments: list[str] = []
    for segment in pattern.split("."):
        segments.extend(next(remaining) if segment in ("*", "**") else (segment,))
    return ".".join(segments)


def wildcards(pattern: str) -> list[str]:
    """Return the wildcards of a pattern, in order."""
    return [segment for segment in pattern.split(".") if segment in ("*", "**")]


def inverse(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return the inverse rules.

    Raises:
        ValueError: a rule drops a tensor, which has no inverse.
    """
    undo: dict[type, Callable] = {
        Rename: lambda rule: Rename(rule.target, rule.source, rule.transpose, rule.optional, -rule.ones, -rule.leading),
        Split: lambda rule: Merge(rule.targets, rule.source, rule.axis, rule.optional, rule.groups, -rule.ones),
        Merge: lambda rule: Split(rule.target, rule.sources, rule.axis, rule.optional, rule.groups, -rule.ones),
    }
    rules = tuple(rules)
    drops = [rule for rule in rules if isinstance(rule, Drop)]
    if drops:
        raise ValueError(f"These rules have no inverse: {drops}.")
    return tuple(undo[type(rule)](rule) for rule in rules)
