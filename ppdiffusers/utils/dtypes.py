"""Names of dtypes, from the dtype objects of every library."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.tensors import STORAGE_DTYPES

T = TypeVar("T")

HALF_PRECISION = ("float16", "bfloat16")
_SHORT = {
    "half": "float16",
    "fp16": "float16",
    "bf16": "bfloat16",
    "float": "float32",
    "fp32": "float32",
    "double": "float64",
    "fp64": "float64",
    "long": "int64",
    "int": "int32",
}


def as_dtype_name(dtype: object) -> str:
    """Return "float32", "bfloat16", ... for a name, a Paddle, torch or numpy dtype, or a scalar type.

    Raises:
        InputError: the dtype is unknown.
    """
    if isinstance(dtype, (np.dtype, type)):
        name = _numpy_name(dtype)
    else:
        # "paddle.float32", "torch.float32", "DataType.FLOAT32", "VarType.FP32": the last part is the name
        name = str(dtype).rpartition(".")[2].strip("'>").lower()
    name = _SHORT.get(name, name)
    if name not in STORAGE_DTYPES:
        raise InputError(
            f"{dtype!r} is not a dtype, or it is not supported.", expected=f"one of {', '.join(STORAGE_DTYPES)}"
        )
    return name


def _numpy_name(dtype: np.dtype | type) -> str:
    try:
        return np.dtype(dtype).name
    except TypeError:
        return str(dtype)


def lacks_half_precision(place: paddle.base.libpaddle.Place) -> bool:
    """Whether Paddle has no kernels for half precision there, not even for an addition: on a CPU."""
    return place.is_cpu_place()


def check_computable(tensor: paddle.Tensor, owner: str) -> None:
    """Check that a tensor is not in half precision on the CPU: Paddle has no CPU kernels for it, not even addition.

    Raises:
        InputError: `tensor` (an input or a weight of `owner`) is float16 or bfloat16 on the CPU.
    """
    name = as_dtype_name(tensor.dtype)
    if name in HALF_PRECISION and lacks_half_precision(tensor.place):
        raise InputError(
            f"{owner} cannot compute in {name} on the CPU: Paddle has no CPU kernels for it.",
            expected="float32 on a CPU, or a GPU",
            remedy='call .to(dtype="float32") (the weights keep their values) or move it to a GPU.',
        )


def computable(value: T) -> T:
    """Return inputs of a network, with tensors on a CPU that are in half precision in float32, as the network is.

    Args:
        value: a tensor, a list, tuple or dict of tensors, or anything else, which is returned unchanged.
    """
    found: Any = value
    if isinstance(value, paddle.Tensor):
        if as_dtype_name(value.dtype) in HALF_PRECISION and lacks_half_precision(value.place):
            found = value.astype("float32")
    elif isinstance(value, (list, tuple)):
        items = [computable(item) for item in value]
        found = type(value)(*items) if hasattr(value, "_fields") else type(value)(items)  # a named tuple
    elif isinstance(value, dict):
        found = {name: computable(item) for name, item in value.items()}
    return found


def dtype_of(layer: nn.Layer) -> paddle.dtype:
    """dtype of the first floating point parameter (models of paddlenlp have no `.dtype`)."""
    return next(parameter.dtype for parameter in layer.parameters() if parameter.is_floating_point())
