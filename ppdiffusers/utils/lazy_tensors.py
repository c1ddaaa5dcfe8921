"""Lazy tensors of values that a caller passes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.utils.dtypes import as_dtype_name


def as_lazy_tensor(name: str, tensor: Any) -> LazyTensor:
    """Wrap a Paddle tensor, a NumPy array, or anything that NumPy converts."""
    if isinstance(tensor, LazyTensor):
        return tensor
    if isinstance(tensor, paddle.Tensor):
        return LazyTensor.of(np.asarray(tensor.numpy()), as_dtype_name(tensor.dtype))
    if isinstance(tensor, (str, os.PathLike)) or not hasattr(tensor, "__array__"):
        raise InputError(f"{name} is {type(tensor).__name__}.", expected="a tensor or an array")
    if hasattr(tensor, "detach"):  # PyTorch's: NumPy reads neither parameters, nor other devices, nor bfloat16
        tensor = tensor.detach().cpu()
        if str(tensor.dtype) == "torch.bfloat16":
            return LazyTensor.of(np.asarray(tensor.float())).astype("bfloat16")
    return LazyTensor.of(np.asarray(tensor))
