"""Views of tensors as numpy arrays."""

from __future__ import annotations

import ctypes

import numpy as np
import paddle


def array_view(tensor: paddle.Tensor) -> np.ndarray:
    """Return the memory of a contiguous CPU tensor as an array, without a copy; the tensor must outlive it."""
    dtype = np.dtype(str(tensor.dtype).rpartition(".")[2])
    if not tensor.size:
        return np.empty(tensor.shape, dtype)
    size = tensor.size * tensor.element_size()
    raw = (ctypes.c_byte * size).from_address(tensor.data_ptr())
    return np.frombuffer(memoryview(raw), np.uint8).view(dtype).reshape(tensor.shape)
