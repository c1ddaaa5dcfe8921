"""The signature of a call: everything about its arguments that a program is specialized to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.runtime.pytree import TreeSpec

# Arguments that change from step to step: as tensors, their values are not part of the signature.
_STEP_ARGUMENTS = ("timestep", "timesteps", "conditioning_scale")
# Options of attention. "scale", the scale of LoRA, may change at each call.
_ATTENTION_ARGUMENTS = ("cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs")


def compiled_methods(layer: nn.Layer) -> tuple[str, ...]:
    """Return the names of the methods that programs replace: those that the class names, or `forward`."""
    return getattr(type(layer), "compiled_methods", ("forward",))


def number_as_tensor(value: Any) -> Any:
    """Convert an int to an int64 tensor and a float to a float32 tensor; return other values unchanged."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return paddle.to_tensor(value, dtype="int64" if isinstance(value, int) else "float32")


def numbers_as_inputs(name: str, value: Any) -> Any:
    """Convert the numbers in the argument `name` that change from call to call to tensors."""
    if name in _STEP_ARGUMENTS:
        # the scales of several ControlNets are a list
        return [number_as_tensor(one) for one in value] if isinstance(value, list) else number_as_tensor(value)
    if name in _ATTENTION_ARGUMENTS and isinstance(value, Mapping) and "scale" in value:
        scale = value["scale"]
        return {**value, "scale": number_as_tensor(float(scale) if isinstance(scale, (int, np.number)) else scale)}
    return value


def signature(arguments: TreeSpec, tensors: Sequence[paddle.Tensor], *more: Any) -> str:
    """Return the signature of a call as JSON: the arguments around the tensors, and the tensors' dtypes and shapes."""
    return json.dumps([arguments, [[str(tensor.dtype), list(tensor.shape)] for tensor in tensors], *more])
