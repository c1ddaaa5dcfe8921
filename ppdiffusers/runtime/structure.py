"""Arguments and results of a network, as a list of tensors and a template of everything around them.

A template is plain JSON, so that it can be kept beside a compiled program: ["tensor", n], ["value", x],
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

Template = list
_PLAIN = (type(None), bool, int, float, str)


class NotPlain(TypeError):
    """A value that is neither a tensor nor plain data: it cannot be part of a compiled call."""


def flatten(value: Any, tensors: list) -> Template:
    """The template of `value`; its tensors are appended to `tensors`.

    Raises:
        NotPlain: there is something inside that is neither a tensor nor plain data, such as a function.
    """
    if isinstance(value, (paddle.Tensor, paddle.pir.Value)):
        tensors.append(value)
        return ["tensor", len(tensors) - 1]
    if isinstance(value, (np.ndarray, np.generic)):
        return flatten(paddle.to_tensor(value), tensors)
    if isinstance(value, _PLAIN):
        return ["value", value]
    if isinstance(value, BaseOutput):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        kind = type(value)
        return ["output", f"{kind.__module__}:{kind.__qualname__}", {k: flatten(v, tensors) for k, v in fields.items()}]
    if isinstance(value, dict):
        return ["dict", {key: flatten(item, tensors) for key, item in value.items()}]
    if isinstance(value, (list, tuple)):
        return ["tuple" if isinstance(value, tuple) else "list", [flatten(item, tensors) for item in value]]
    raise NotPlain(f"{type(value).__name__} is neither a tensor nor plain data")


def compiled_methods(layer: paddle.nn.Layer) -> tuple[str, ...]:
    """The methods that a program stands for: what the class names, or `forward`."""
    return getattr(type(layer), "compiled_methods", ("forward",))


def number_as_tensor(value: Any) -> Any:
    """A number that a program has to take as an input, as an int64 or float32 tensor; all else as it is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return paddle.to_tensor(value, dtype="int64" if isinstance(value, int) else "float32")


def rebuild(template: Template, tensors: Sequence) -> Any:
    """The inverse of `flatten`, with other tensors in the places of the first."""
    kind, content = template[0], template[1]
    if kind == "tensor":
        return tensors[content]
    if kind == "value":
        return content
    if kind == "dict":
        return {key: rebuild(item, tensors) for key, item in content.items()}
    if kind == "output":
        module, _, name = content.partition(":")
        cls = getattr(importlib.import_module(module), name)
        return cls(**{key: rebuild(item, tensors) for key, item in template[2].items()})
    items = [rebuild(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
