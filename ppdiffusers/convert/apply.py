"""Apply rules to the lazy tensors of a checkpoint; no tensor is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module
from itertools import takewhile

import numpy as np

from ppdiffusers.convert.layout import to_paddle_layout, to_torch_layout
from ppdiffusers.convert.rules import Captured, Drop, KeyMapping, Merge, Rename, Rule, Split, fill, match, wildcards
from ppdiffusers.core.errors import ConversionError
from ppdiffusers.core.tensors import LazyTensor

__all__ = ["apply_key_mappings", "apply_rules", "load_key_mapping", "to_paddle_layout", "to_torch_layout"]


def load_key_mapping(name: str) -> KeyMapping:
    """Return the `KEY_MAPPING` of `ppdiffusers/convert/names/<name>.py`."""
    return import_module(f"ppdiffusers.convert.names.{name}").KEY_MAPPING


def apply_key_mappings(
    names: Iterable[str], tensors: Mapping[str, LazyTensor], where: object = None
) -> dict[str, LazyTensor]:
    """Apply the named key mappings that match the checkpoint, in this order."""
    result = dict(tensors)
    for name in names:
        mapping = load_key_mapping(name)
        if mapping.matches(result):
            result = apply_rules(mapping.rules, result, where=where, name=mapping.name)
    return result


def apply_rules(
    rules: Iterable[Rule], tensors: Mapping[str, LazyTensor], *, where: object = None, name: str = "the rules"
) -> dict[str, LazyTensor]:
    """Rename, split, merge and drop tensors; a key that no rule matches keeps its name.

    Args:
        rules: at most one of them may match a key, and each of them must match a key unless it is optional.
        tensors: the checkpoint.
        where: the file, for errors.
        name: the name of the table, for errors.

    Raises:
        ConversionError: rules overlap, a rule matches nothing, a part to merge is missing, a tensor cannot be split, or
            two tensors get the same name; all of these are listed.
    """
    rules = tuple(rules)
    problems = [f"{rule}: its patterns have different wildcards" for rule in rules if not _is_balanced(rule)]
    if problems:
        raise ConversionError(f"A table of names is invalid: {name}.", problems=problems)
    matches: dict[Rule, dict[tuple[str, Captured], str]] = {rule: {} for rule in rules}
    result: dict[str, LazyTensor] = {}
    index = _SourceIndex(rules)
    for key, tensor in tensors.items():
        found = index.find(key)
        if len(found) > 1:
            problems.append(f"{key}: matched by {', '.join(str(rule) for rule, _, _ in found)}")
        elif found:
            rule, source, captured = found[0]
            matches[rule][source, captured] = key
        else:
            _put(result, key, tensor, problems)
    for rule in rules:
        if matches[rule]:
            _apply_rule(rule, matches[rule], tensors, result, problems)
        elif not rule.optional:
            problems.append(f"{rule}: matches nothing")
    if problems:
        raise ConversionError(
            f"The names of the checkpoint do not follow {name}.",
            where=where,
            problems=problems,
            expected="every rule matches, and at most one rule matches each key",
        )
    return result


class _SourceIndex:
    """The sources of rules by the segments before their first wildcard: few of several hundred can match a key."""

    def __init__(self, rules: Iterable[Rule]):
        self._by_start: dict[tuple[str, ...], list[tuple[Rule, str]]] = {}
        for rule in rules:
            for source in _sources(rule):
                start = tuple(takewhile(lambda segment: segment not in ("*", "**"), source.split(".")))
                self._by_start.setdefault(start, []).append((rule, source))

    def find(self, key: str) -> list[tuple[Rule, str, Captured]]:
        """Return all matches: rule, source pattern and captured segments."""
        segments = tuple(key.split("."))
        starts = (self._by_start.get(segments[:count], ()) for count in range(len(segments) + 1))
        candidates = [candidate for some in starts for candidate in some]
        matches = ((rule, source, match(source, key)) for rule, source in candidates)
        return [(rule, source, captured) for rule, source, captured in matches if captured is not None]


def _sources(rule: Rule) -> tuple[str, ...]:
    return rule.sources if isinstance(rule, Merge) else (rule.source,)


def _targets(rule: Rule) -> tuple[str, ...]:
    if isinstance(rule, Drop):
        return ()
    return rule.targets if isinstance(rule, Split) else (rule.target,)


def _is_balanced(rule: Rule) -> bool:
    targets = () if isinstance(rule, Drop) else rule.targets if isinstance(rule, Split) else (rule.target,)
    patterns = [*_sources(rule), *targets]
    return all(wildcards(pattern) == wildcards(patterns[0]) for pattern in patterns)


def _apply_rule(
    rule: Rule,
    matched: Mapping[tuple[str, Captured], str],
    tensors: Mapping[str, LazyTensor],
    result: dict[str, LazyTensor],
    problems: list[str],
) -> None:
    if isinstance(rule, Rename):
        for (_, captured), key in matched.items():
            _rename(rule, key, captured, tensors[key], result, problems)
    elif isinstance(rule, Split):
        for (_, captured), key in matched.items():
            _split(rule, key, captured, tensors[key], result, problems)
    elif isinstance(rule, Merge):
        for captured in dict.fromkeys(captured for _, captured in matched):
            _merge(rule, captured, tensors, result, problems)


def _rename(
    rule: Rename, key: str, captured: Captured, tensor: LazyTensor, result: dict[str, LazyTensor], problems: list[str]
) -> None:
    inside = _without_leading(tensor, rule.leading)
    matrix = None if inside is None else _without_ones(inside, max(rule.ones, 0))
    if matrix is None or (rule.transpose and len(matrix.shape) != 2):
        expected = "a matrix" if rule.transpose else "a tensor"
        counts = {"leading": rule.leading, "trailing": rule.ones}
        axes = " and".join(f" with {n} {side} axes of length one" for side, n in counts.items() if n > 0)
        problems.append(f"{key}: expected {expected}{axes}, found the shape {tensor.shape}")
        return
    renamed = matrix.transposed() if rule.transpose else matrix
    _put(result, fill(rule.target, captured), _with_ones(renamed, max(-rule.ones, 0)), problems)


def _split(
    rule: Split, key: str, captured: Captured, tensor: LazyTensor, result: dict[str, LazyTensor], problems: list[str]
) -> None:
    parts = len(rule.targets)
    whole = _without_ones(tensor, rule.ones)
    if whole is None or len(whole.shape) <= rule.axis or whole.shape[rule.axis] % (parts * rule.groups):
        pieces = f"{parts}" if rule.groups == 1 else f"{rule.groups} times {parts}"
        problems.append(f"{key}: the shape {tensor.shape} cannot be split into {pieces} along axis {rule.axis}")
        return
    before, size, after = whole.shape[: rule.axis], whole.shape[rule.axis] // parts, whole.shape[rule.axis + 1 :]
    shape = (*before, size, *after)
    grouped = (*before, rule.groups, parts, size // rule.groups, *after)
    for index, target in enumerate(rule.targets):
        read = partial(_read_part, whole, grouped, (*(slice(None),) * (rule.axis + 1), index), shape)
        _put(result, fill(target, captured), LazyTensor(tensor.dtype, shape, read), problems)


def _merge(
    rule: Merge,
    captured: Captured,
    tensors: Mapping[str, LazyTensor],
    result: dict[str, LazyTensor],
    problems: list[str],
) -> None:
    keys = [fill(source, captured) for source in rule.sources]
    missing = [key for key in keys if key not in tensors]
    if missing:
        problems.append(f"{fill(rule.target, captured)}: cannot be merged without {', '.join(missing)}")
        return
    found = [_without_ones(tensors[key], rule.ones) for key in keys]
    parts = [part for part in found if part is not None]
    if len(parts) < len(keys) or not _can_be_merged(parts, rule):
        problems.append(f"{', '.join(keys)}: shapes {[tensors[key].shape for key in keys]} cannot be merged")
        return
    before, after = parts[0].shape[: rule.axis], parts[0].shape[rule.axis + 1 :]
    shape = (*before, sum(part.shape[rule.axis] for part in parts), *after)
    merged = LazyTensor(parts[0].dtype, shape, partial(_read_merged, parts, rule.axis, rule.groups, shape))
    _put(result, fill(rule.target, captured), merged, problems)


def _can_be_merged(parts: list[LazyTensor], rule: Merge) -> bool:
    if any(len(part.shape) <= rule.axis or part.shape[rule.axis] % rule.groups != 0 for part in parts):
        return False
    return len({(part.dtype, part.shape[: rule.axis], part.shape[rule.axis + 1 :]) for part in parts}) == 1


def _with_ones(tensor: LazyTensor, ones: int) -> LazyTensor:
    """Append `ones` axes of length one."""
    return tensor.reshaped((*tensor.shape, *(1,) * ones)) if ones else tensor


def _without_ones(tensor: LazyTensor, ones: int) -> LazyTensor | None:
    """Remove the last `ones` axes, None if their length is not one; append axes if `ones` is negative."""
    if ones <= 0:
        return _with_ones(tensor, -ones)
    kept, last = tensor.shape[:-ones], tensor.shape[-ones:]
    return tensor.reshaped(kept) if last == (1,) * ones else None


def _read_part(tensor: LazyTensor, grouped: tuple[int, ...], index: tuple, shape: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(tensor.read().reshape(grouped)[index]).reshape(shape)


def _read_merged(parts: list[LazyTensor], axis: int, groups: int, shape: tuple[int, ...]) -> np.ndarray:
    def grouped(array: np.ndarray) -> np.ndarray:
        return array.reshape(*array.shape[:axis], groups, -1, *array.shape[axis + 1 :])

    return np.concatenate([grouped(part.read()) for part in parts], axis=axis + 1).reshape(shape)


def _put(result: dict[str, LazyTensor], key: str, tensor: LazyTensor, problems: list[str]) -> None:
    if key in result:
        problems.append(f"{key}: two tensors get this name")
    result[key] = tensor


def _without_leading(tensor: LazyTensor, ones: int) -> LazyTensor | None:
    """Remove the first `ones` axes, None if their length is not one; prepend axes if `ones` is negative."""
    if ones <= 0:
        return tensor.reshaped((1,) * -ones + tuple(tensor.shape)) if ones else tensor
    first, kept = tensor.shape[:ones], tensor.shape[ones:]
    return tensor.reshaped(kept) if first == (1,) * ones else None
