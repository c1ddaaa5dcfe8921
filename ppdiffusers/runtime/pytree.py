"""Nested arguments and results as a flat list of tensors and a specification of everything around them.

A tree specification is plain JSON, so that it can be stored with a compiled program: ["tensor", n], ["value", x],
["list" or "tuple", [...]], ["dict", {...}], ["output", "module:Class", {...}].
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.outputs import BaseOutput

TreeSpec = list
_PLAIN = (type(None), bool, int, float, str)


class UnsupportedLeafError(TypeError):
    """A leaf is neither a tensor nor plain data: it cannot be an argument or a result of a program."""


def tree_flatten(value: Any, tensors: list) -> TreeSpec:
    """Return the tree specification of `value` and append its tensors to `tensors`.

    Raises:
        UnsupportedLeafError: a leaf, such as a function, is neither a tensor nor plain data.
    """
    if isinstance(value, (paddle.Tensor, paddle.pir.Value)):
        tensors.append(value)
        return ["tensor", len(tensors) - 1]
    if isinstance(value, (np.ndarray, np.generic)):
        return tree_flatten(paddle.to_tensor(value), tensors)
    if isinstance(value, _PLAIN):
        return ["value", value]
    if isinstance(value, BaseOutput):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        kind = type(value)
        children = {key: tree_flatten(item, tensors) for key, item in fields.items()}
        return ["output", f"{kind.__module__}:{kind.__qualname__}", children]
    if isinstance(value, dict):
        return ["dict", {key: tree_flatten(item, tensors) for key, item in value.items()}]
    if isinstance(value, (list, tuple)):
        return ["tuple" if isinstance(value, tuple) else "list", [tree_flatten(item, tensors) for item in value]]
    raise UnsupportedLeafError(f"{type(value).__name__} is neither a tensor nor plain data")


def tree_unflatten(spec: TreeSpec, tensors: Sequence) -> Any:
    """Rebuild the value that `tree_flatten` described, with these tensors as its tensor leaves."""
    kind, content = spec[0], spec[1]
    if kind == "tensor":
        return tensors[content]
    if kind == "value":
        return content
    if kind == "dict":
        return {key: tree_unflatten(item, tensors) for key, item in content.items()}
    if kind == "output":
        module, _, name = content.partition(":")
        cls = getattr(importlib.import_module(module), name)
        return cls(**{key: tree_unflatten(item, tensors) for key, item in spec[2].items()})
    items = [tree_unflatten(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
