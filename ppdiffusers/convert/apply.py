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
    """The `FAMILY` of `ppdiffusers/convert/families/<name>.py`."""
    return import_module(f"ppdiffusers.convert.families.{name}").FAMILY


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


def _is_balanced(rule: Rule) -> bool:
    targets = {Rename: lambda: (rule.target,), Split: lambda: rule.targets, Merge: lambda: (rule.target,), Drop: tuple}
    patterns = [*_sources(rule), *targets[type(rule)]()]
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
            tensor = tensors[key]
            if rule.transpose and len(tensor.shape) != 2:
                problems.append(f"{key}: of shape {tensor.shape}, a matrix was expected")
                continue
            _put(result, fill(rule.target, captured), tensor.transposed() if rule.transpose else tensor, problems)
    elif isinstance(rule, Split):
        for (_, captured), key in matched.items():
            _split(rule, key, captured, tensors[key], result, problems)
    elif isinstance(rule, Merge):
        for captured in dict.fromkeys(captured for _, captured in matched):
            _merge(rule, captured, tensors, result, problems)


def _split(
    rule: Split, key: str, captured: Captured, tensor: LazyTensor, result: dict[str, LazyTensor], problems: list[str]
) -> None:
    parts = len(rule.targets)
    if len(tensor.shape) <= rule.axis or tensor.shape[rule.axis] % parts:
        problems.append(f"{key}: of shape {tensor.shape}, cannot be cut into {parts} along axis {rule.axis}")
        return
    side = tensor.shape[rule.axis] // parts
    shape = (*tensor.shape[: rule.axis], side, *tensor.shape[rule.axis + 1 :])
    for index, target in enumerate(rule.targets):
        cut = LazyTensor(tensor.dtype, shape, partial(_read_part, tensor, rule.axis, index * side, side))
        _put(result, fill(target, captured), cut, problems)


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
    parts = [tensors[key] for key in keys]
    others = {(p.dtype, p.shape[: rule.axis], p.shape[rule.axis + 1 :]) for p in parts}
    if len(others) > 1 or any(len(part.shape) <= rule.axis for part in parts):
        problems.append(f"{', '.join(keys)}: shapes {[part.shape for part in parts]} cannot be joined")
        return
    side = sum(part.shape[rule.axis] for part in parts)
    shape = (*parts[0].shape[: rule.axis], side, *parts[0].shape[rule.axis + 1 :])
    joined = LazyTensor(parts[0].dtype, shape, partial(_read_joined, parts, rule.axis))
    _put(result, fill(rule.target, captured), joined, problems)


def _read_part(tensor: LazyTensor, axis: int, start: int, side: int) -> np.ndarray:
    whole = tensor.read()
    index = (slice(None),) * axis + (slice(start, start + side),)
    return np.ascontiguousarray(whole[index])


def _read_joined(parts: list[LazyTensor], axis: int) -> np.ndarray:
    return np.concatenate([part.read() for part in parts], axis=axis)


def _put(result: dict[str, LazyTensor], key: str, tensor: LazyTensor, problems: list[str]) -> None:
    if key in result:
        problems.append(f"{key}: two tensors get this name")
    result[key] = tensor
