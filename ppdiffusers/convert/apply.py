"""Rules and layout over the tensors of a checkpoint: nothing is read, the result is again a mapping of LazyTensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module

import numpy as np

from ppdiffusers.convert.layout import to_paddle_layout, to_torch_layout
from ppdiffusers.convert.rules import Captured, Drop, Family, Merge, Rename, Rule, Split, fill, match, wildcards
from ppdiffusers.core.errors import ConversionError
from ppdiffusers.core.tensors import LazyTensor

__all__ = ["apply_families", "apply_rules", "load_family", "to_paddle_layout", "to_torch_layout"]


def load_family(name: str) -> Family:
    """The `FAMILY` of `ppdiffusers/convert/names/<name>.py`."""
    return import_module(f"ppdiffusers.convert.names.{name}").FAMILY


def apply_families(
    names: Iterable[str], tensors: Mapping[str, LazyTensor], where: object = None
) -> dict[str, LazyTensor]:
    """Rename by every named family that the checkpoint is of, in the order given."""
    result = dict(tensors)
    for name in names:
        family = load_family(name)
        if family.fits(result):
            result = apply_rules(family.rules, result, where=where, name=family.name)
    return result


def apply_rules(
    rules: Iterable[Rule], tensors: Mapping[str, LazyTensor], *, where: object = None, name: str = "the rules"
) -> dict[str, LazyTensor]:
    """Rename, split, merge and drop tensors; a key that no rule matches keeps its name.

    Args:
        rules: each key may match one of them at most, and each of them has to match something unless it is optional.
        tensors: the checkpoint.
        where: the file, for errors.
        name: what errors call the table.

    Raises:
        ConversionError: rules overlap, one never fires, a part to merge is missing, a tensor cannot be split, or
            two tensors end under one name; all such findings at once.
    """
    rules = tuple(rules)
    problems = [f"{rule}: its patterns have different wildcards" for rule in rules if not _is_balanced(rule)]
    if problems:
        raise ConversionError(f"A table of names is wrong: {name}.", problems=problems)
    matches: dict[Rule, dict[tuple[str, Captured], str]] = {rule: {} for rule in rules}
    result: dict[str, LazyTensor] = {}
    for key, tensor in tensors.items():
        found = [
            (rule, source, captured)
            for rule in rules
            for source in _sources(rule)
            if (captured := match(source, key)) is not None
        ]
        if len(found) > 1:
            problems.append(f"{key}: matched by {', '.join(str(rule) for rule, _, _ in found)}")
        elif found:
            rule, source, captured = found[0]
            matches[rule][source, captured] = key
        else:
            _put(result, key, tensor, problems)
    for rule in rules:
        if matches[rule]:
            _fire(rule, matches[rule], tensors, result, problems)
        elif not rule.optional:
            problems.append(f"{rule}: matches nothing")
    if problems:
        raise ConversionError(
            f"The names of the checkpoint do not follow {name}.",
            where=where,
            problems=problems,
            expected="every rule matches, and each key is matched by one rule at most",
        )
    return result


def _sources(rule: Rule) -> tuple[str, ...]:
    return rule.sources if isinstance(rule, Merge) else (rule.source,)


def _targets(rule: Rule) -> tuple[str, ...]:
    if isinstance(rule, Drop):
        return ()
    return rule.targets if isinstance(rule, Split) else (rule.target,)


def _is_balanced(rule: Rule) -> bool:
    patterns = [*_sources(rule), *_targets(rule)]
    return all(wildcards(pattern) == wildcards(patterns[0]) for pattern in patterns)


def _fire(
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
    matrix = _without_ones(tensor, max(rule.ones, 0))
    if matrix is None or (rule.transpose and len(matrix.shape) != 2):
        expected = "a matrix" if rule.transpose else "a tensor"
        behind = f" with {rule.ones} axes of length one behind it" if rule.ones > 0 else ""
        problems.append(f"{key}: of shape {tensor.shape}, {expected}{behind} was expected")
        return
    renamed = matrix.transposed() if rule.transpose else matrix
    _put(result, fill(rule.target, captured), _with_ones(renamed, -rule.ones), problems)


def _split(
    rule: Split, key: str, captured: Captured, tensor: LazyTensor, result: dict[str, LazyTensor], problems: list[str]
) -> None:
    parts = len(rule.targets)
    whole = _without_ones(tensor, rule.ones)
    if whole is None or len(whole.shape) <= rule.axis or whole.shape[rule.axis] % (parts * rule.groups):
        pieces = f"{parts}" if rule.groups == 1 else f"{rule.groups} times {parts}"
        problems.append(f"{key}: of shape {tensor.shape}, cannot be cut into {pieces} along axis {rule.axis}")
        return
    before, side, after = whole.shape[: rule.axis], whole.shape[rule.axis] // parts, whole.shape[rule.axis + 1 :]
    shape = (*before, side, *after)
    grouped = (*before, rule.groups, parts, side // rule.groups, *after)
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
        problems.append(f"{fill(rule.target, captured)}: cannot be joined without {', '.join(missing)}")
        return
    parts = [part for key in keys if (part := _without_ones(tensors[key], rule.ones)) is not None]
    if len(parts) < len(keys) or not _can_be_joined(parts, rule):
        problems.append(f"{', '.join(keys)}: shapes {[tensors[key].shape for key in keys]} cannot be joined")
        return
    before, after = parts[0].shape[: rule.axis], parts[0].shape[rule.axis + 1 :]
    shape = (*before, sum(part.shape[rule.axis] for part in parts), *after)
    joined = LazyTensor(parts[0].dtype, shape, partial(_read_joined, parts, rule.axis, rule.groups, shape))
    _put(result, fill(rule.target, captured), joined, problems)


def _can_be_joined(parts: list[LazyTensor], rule: Merge) -> bool:
    if any(len(part.shape) <= rule.axis or part.shape[rule.axis] % rule.groups != 0 for part in parts):
        return False
    return len({(part.dtype, part.shape[: rule.axis], part.shape[rule.axis + 1 :]) for part in parts}) == 1


def _without_ones(tensor: LazyTensor, ones: int) -> LazyTensor | None:
    """Without its last `ones` axes, which have to be of length one, else None; negative: with so many more."""
    if ones <= 0:
        return _with_ones(tensor, -ones)
    kept, last = tensor.shape[:-ones], tensor.shape[-ones:]
    return tensor.reshaped(kept) if last == (1,) * ones else None


def _with_ones(tensor: LazyTensor, ones: int) -> LazyTensor:
    """Append `ones` axes of length one; none if it is negative."""
    return tensor.reshaped((*tensor.shape, *(1,) * ones)) if ones > 0 else tensor


def _read_part(tensor: LazyTensor, grouped: tuple[int, ...], index: tuple, shape: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(tensor.read().reshape(grouped)[index]).reshape(shape)


def _read_joined(parts: list[LazyTensor], axis: int, groups: int, shape: tuple[int, ...]) -> np.ndarray:
    def grouped(array: np.ndarray) -> np.ndarray:
        return array.reshape(*array.shape[:axis], groups, -1, *array.shape[axis + 1 :])

    return np.concatenate([grouped(part.read()) for part in parts], axis=axis + 1).reshape(shape)


def _put(result: dict[str, LazyTensor], key: str, tensor: LazyTensor, problems: list[str]) -> None:
    if key in result:
        problems.append(f"{key}: two tensors get this name")
    result[key] = tensor
