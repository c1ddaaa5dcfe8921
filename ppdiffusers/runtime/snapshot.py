"""A network without its weights: layers, hooks and plain attributes, and a cheap check that they have not changed.

A program is traced once. What Python code read at that time, such as `attention.slice_size`, is part of it. So a
program's signature contains a fingerprint of the attributes of all layers.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import logging
import sys
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.runtime.state import StatefulLayer

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
# Packages whose code does not change without their version.
_RELEASED = {"ppdiffusers", "paddle", "numpy", *sys.stdlib_module_names}
# Objects in attributes of objects in attributes of layers, ..., are described to this depth.
_MAX_DEPTH = 5


@functools.cache
def _internals() -> frozenset[str]:
    """Attributes that Paddle gives every layer. Hooks, weights and sublayers are compared in other ways."""
    return frozenset(vars(nn.Layer())) - {"training"}


class LayerSnapshot:
    """What was true of a layer and its sublayers at one time.

    Args:
        layer: the network.
        ignored: attributes whose value is of this type are not part of the network.

    Attributes:
        fingerprint: a hash of the attributes of all layers, equal in all processes.
        stateful: the layers that have state, in a fixed order.
        has_custom_processors: whether the network has attention processors that a program cannot replace.
        modules: modules outside of ppdiffusers and Paddle whose code takes part in a call.
    """

    def __init__(self, layer: nn.Layer, ignored: type):
        self._layer = layer
        self._layers = sublayers(layer)
        # Shallow copies. Comparing them compares identities first, and values where an object was replaced.
        self._attributes = [vars(part) for part in self._layers]
        self._copies = [dict(attributes) for attributes in self._attributes]
        # the layer's own hooks run before and after the program
        inner = self._layers[1:]
        self._hooks = [hooks for part in inner for hooks in (part._forward_pre_hooks, part._forward_post_hooks)]
        self.stateful = [part for part in self._layers if isinstance(part, StatefulLayer)]
        self.has_custom_processors: bool = getattr(layer, "has_custom_attn_processors", False)
        describer = _Describer(ignored)
        described = [describer.layer(part) for part in self._layers]
        self.fingerprint = hashlib.blake2b(repr(described).encode(), digest_size=20).hexdigest()
        self.modules = describer.modules
        self._containers = describer.containers
        self._container_copies = [container.copy() for container in self._containers]

    def is_current(self) -> bool:
        """Return whether layers and attributes are unchanged; state and weights are not compared."""
        try:
            return (
                sublayers(self._layer) == self._layers
                and self._attributes == self._copies
                and self._containers == self._container_copies
            )
        except (ValueError, TypeError, RuntimeError):  # an array or a tensor was replaced: it has no truth value
            return False

    def has_hooks(self) -> bool:
        """Return whether a sublayer has forward hooks."""
        return any(self._hooks)


def sublayers(layer: nn.Layer) -> list[nn.Layer]:
    """Return the layer and all its sublayers. Faster than Paddle's method of this name: it runs at each call."""
    found, waiting = [], [layer]
    while waiting:
        part = waiting.pop()
        found.append(part)
        waiting.extend(child for child in part._sub_layers.values() if child is not None)
    return found


class _Describer:
    """Turns attributes into plain text that is equal in all processes where the attributes are.

    Attributes:
        containers: what was described and can change in place: containers, and the attributes of other objects.
        modules: modules of types and functions that were described, except released ones.
    """

    def __init__(self, ignored: type):
        self._ignored = (ignored, nn.Layer, logging.Logger)
        self._active: set[int] = set()
        self.containers: list[list | dict | set] = []
        self.modules: set[str] = set()

    def layer(self, layer: nn.Layer) -> list:
        """Describe one layer: its type, how many sublayers it has, its attributes."""
        hidden = layer.state_attributes if isinstance(layer, StatefulLayer) else ()
        attributes = {
            name: self._value(value)
            for name, value in sorted(vars(layer).items())  # an attribute that was replaced is the last one
            if name not in _internals() and name not in hidden and not isinstance(value, self._ignored[0])
        }
        return [self._name(type(layer)), len(layer._sub_layers), layer.training, attributes]

    def _value(self, value: Any) -> Any:
        if isinstance(value, _PLAIN):
            return repr(value)
        if isinstance(value, enum.Enum):
            return str(value)
        if isinstance(value, (type, types.BuiltinFunctionType)):
            return self._name(value)
        if isinstance(value, paddle.Tensor):  # a tensor that is no buffer cannot be part of a program
            return ["tensor", str(value.dtype), list(value.shape)]
        if isinstance(value, self._ignored) or id(value) in self._active or len(self._active) > _MAX_DEPTH:
            return self._name(type(value))
        self._active.add(id(value))
        try:
            if isinstance(value, types.FunctionType):
                return self._function(value)
            return [self._name(type(value)), self._content(value)]
        finally:
            self._active.remove(id(value))

    def _content(self, value: Any) -> Any:
        if isinstance(value, (list, dict, set)):
            self.containers.append(value)
        if isinstance(value, Mapping):
            return [[self._value(key), self._value(item)] for key, item in value.items()]
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        if isinstance(value, (set, frozenset)):
            return sorted(repr(self._value(item)) for item in value)
        if isinstance(value, (np.ndarray, np.generic)):
            return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
        if isinstance(value, functools.partial):
            return [self._value(value.func), self._value(value.args), self._value(value.keywords)]
        if isinstance(value, types.MethodType):
            return [self._value(value.__func__), self._value(value.__self__)]
        if isinstance(getattr(value, "__dict__", None), dict):
            self.containers.append(vars(value))
            return {name: self._value(item) for name, item in vars(value).items()}
        text = repr(value)
        return "" if " at 0x" in text else text  # an address means nothing in another process

    def _function(self, function: types.FunctionType) -> list:
        captured = [self._value(cell.cell_contents) for cell in function.__closure__ or () if _is_filled(cell)]
        defaults = [self._value(function.__defaults__), self._value(function.__kwdefaults__)]
        return [self._name(function), _describe_code(function.__code__), captured, defaults]

    def _name(self, value: Any) -> str:
        module = value.__module__ or ""
        if module.partition(".")[0] not in _RELEASED:
            self.modules.add(module)
        return f"{module}:{value.__qualname__}"


def _describe_code(code: types.CodeType) -> list:
    constants = [_describe_code(c) if isinstance(c, types.CodeType) else c for c in code.co_consts]
    plain = [constant for constant in constants if isinstance(constant, (list, *_PLAIN))]
    return [code.co_code.hex(), code.co_names, plain]


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that has no value yet
        return False
