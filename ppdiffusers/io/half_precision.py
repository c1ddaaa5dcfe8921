"""Half precision on a CPU: Paddle has no CPU kernels for it, so weights are rounded to it and held in float32.

A network records which tensors are held that way, so that it is saved in half precision, and cast to it on a GPU.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping

import paddle
from paddle import nn

from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.utils import dtypes
from ppdiffusers.utils.dtypes import HALF_PRECISION, as_dtype_name
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


def hold_in_float32(layer: nn.Layer) -> None:
    """Hold half-precision weights that are on a CPU in float32; restore those that are no longer on a CPU."""
    saved: dict[str, str] = dict(getattr(layer, "saved_dtypes", {}))
    for name, tensor in _tensors(layer):
        dtype = as_dtype_name(tensor.dtype)
        if dtypes.lacks_half_precision(tensor.place):
            if dtype in HALF_PRECISION:
                saved[name] = dtype
                tensor.astype("float32")._share_buffer_to(tensor)
        elif name in saved:
            tensor.astype(saved.pop(name))._share_buffer_to(tensor)
    record_saved_dtypes(layer, saved)


def stays_in_float32(layer: nn.Layer, key: str) -> bool:
    """Return whether a tensor of the network's state dict stays in float32 when the others are in float16."""
    return any(re.search(pattern, key) for pattern in getattr(layer, "keep_in_float32", ()))


def cast_floating(layer: nn.Layer, dtype: str, blocking: bool | None = None) -> None:
    """Cast floating parameters and buffers, in place; some stay in float32 (`stays_in_float32`)."""
    if dtype != "float16" or not getattr(layer, "keep_in_float32", ()):
        # Layer.to(dtype=...) casts integer buffers too; this is what Layer.float() calls
        layer._to_impl(dtype=dtype, blocking=blocking, include_sublayers=True, floating_only=True)
        return
    for name, tensor in _tensors(layer):
        if tensor.is_floating_point():
            tensor.astype("float32" if stays_in_float32(layer, name) else dtype)._share_buffer_to(tensor)


def held_dtype(dtype: str) -> str:
    """Return the dtype in which a tensor is held that is loaded to Paddle's current device."""
    half = dtype in HALF_PRECISION and dtypes.lacks_half_precision(paddle.framework._current_expected_place())
    return "float32" if half else dtype


def record_saved_dtypes(layer: nn.Layer, saved: Mapping[str, str]) -> None:
    """Record the dtypes of tensors that are held in float32, with one warning for each process."""
    if saved:
        _warn_once(" and ".join(sorted(set(saved.values()))))
        layer.saved_dtypes = dict(saved)
    else:  # attributes of layers are part of a compiled program's signature
        layer.__dict__.pop("saved_dtypes", None)


@functools.cache  # once in a process, not for each of a pipeline's networks
def _warn_once(names: str) -> None:
    logger.warning(
        "Paddle has no CPU kernels for %s: weights are rounded to it, and held and computed with in float32. They are "
        "saved in %s.",
        names,
        names,
    )


def as_saved(layer: nn.Layer, tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Return the tensors of the network's state dict in the dtypes in which they are saved."""
    saved: Mapping[str, str] = getattr(layer, "saved_dtypes", {})
    state = layer.state_dict()
    by_id = {id(state[name]): dtype for name, dtype in saved.items() if name in state}  # shared ones have two names
    return {
        name: tensor.astype(by_id[id(state[name])]) if id(state[name]) in by_id else tensor
        for name, tensor in tensors.items()
    }


def _tensors(layer: nn.Layer) -> Iterator[tuple[str, paddle.Tensor]]:
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        if tensor is not None and tensor._is_initialized():
            yield name, tensor
