"""Parsing of devices and dtypes, and moving networks between them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.tensors import FLOATING
from ppdiffusers.io.half_precision import cast_floating, hold_in_float32, record_saved_dtypes
from ppdiffusers.utils.dtypes import as_dtype_name

Method = TypeVar("Method", bound=Callable[..., Any])

_ALIASES = {
    **dict.fromkeys(("device", "paddle_device", "torch_device"), "device"),
    **dict.fromkeys(("dtype", "paddle_dtype", "torch_dtype"), "dtype"),
}
_IGNORED = ("silence_dtype_warnings", "non_blocking")


def parse_device_and_dtype(*args: Any, **kwargs: Any) -> tuple[str | None, str | None]:
    """Parse arguments in any order, such as ("float16", "gpu:0"), to (device, dtype); None for those not given.

    Raises:
        InputError: an argument is neither, one is given twice, or the device does not exist.
    """
    found: dict[str, str | None] = {"device": None, "dtype": None}
    problems = []
    named = [(_ALIASES.get(key), key, value) for key, value in kwargs.items() if key not in _IGNORED]
    for slot, key, value in [*((None, None, value) for value in args), *named]:
        if value is None:
            continue
        if key is not None and slot is None:
            problems.append(f"unknown argument {key}={value!r}")
            continue
        device = _as_device(value) if slot != "dtype" else None
        dtype = _as_floating(value) if slot != "device" and device is None else None
        slot = "device" if device else "dtype"
        if not (device or dtype):
            problems.append(f"{value!r} is neither a device nor a floating-point dtype")
        elif found[slot] is not None:
            problems.append(f"the {slot} is given twice: {found[slot]} and {value!r}")
        else:
            found[slot] = device or dtype
    device = found["device"]
    if device and device != "cpu" and not _exists(device):
        problems.append(f"{device} does not exist; available: {_devices()}")
    if problems:
        raise InputError(
            "The pipeline cannot be moved.",
            problems=problems,
            expected="'cpu', 'gpu' or 'gpu:N' and one of " + ", ".join(FLOATING),
            remedy="for a GPU install paddlepaddle-gpu instead of paddlepaddle." if device else None,
        )
    return device, found["dtype"]


def move_layer(layer: nn.Layer, device: str | None, dtype: str | None) -> None:
    """Move a network, and cast its floating-point parameters and buffers, in place.

    On a CPU, weights in half precision are held in float32 (`io/half_precision.py`).
    """
    if device is not None:
        layer._to_impl(device=device, include_sublayers=True)
    if dtype is not None:
        cast_floating(layer, dtype)
        record_saved_dtypes(layer, {})
    hold_in_float32(layer)


def device_is_optional(method: Method) -> Method:
    """Decorate a method with an argument `device`, so that calls for ppdiffusers 0.29, which has none, work too.

    In its order of arguments, another argument stands where `device` is expected; without it, `device` is missing.
    """
    signature = inspect.signature(method)
    names = list(signature.parameters)[1:]  # without self
    place = names.index("device")

    @functools.wraps(method)
    def wrapper(self: object, *args: Any, **kwargs: Any) -> Any:
        following = names[place + 1] if len(names) > place + 1 else ""
        if len(args) > place and not _stands_for_device(args[place], following, args[place + 1 :]):
            args = (*args[:place], None, *args[place:])
        elif len(args) <= place:
            kwargs.setdefault("device", None)
        return method(self, *args, **kwargs)

    return cast(Method, wrapper)


def _stands_for_device(value: Any, following: str, others: Sequence[Any]) -> bool:
    """Whether a positional argument is a device, judged by it and by the argument after it."""
    if value is None:
        # generator=None, and latents where the generator is expected
        return not (following == "generator" and others and isinstance(others[0], paddle.Tensor))
    if type(value) is int:  # a device of PyTorch, or num_images_per_prompt before a bool
        return not (others and isinstance(others[0], bool))
    return _as_device(value) is not None


def _as_device(value: Any) -> str | None:
    if isinstance(value, paddle.CPUPlace):
        return "cpu"
    if isinstance(value, paddle.CUDAPlace):
        return f"gpu:{value.get_device_id()}"
    if isinstance(value, paddle.base.libpaddle.Place):  # the place of a tensor
        return f"gpu:{value.gpu_device_id()}" if value.is_gpu_place() else "cpu"
    name, _, number = str(value).replace("cuda", "gpu").partition(":")
    if name not in ("cpu", "gpu") or not (number.isdigit() or not number):
        return None
    return "cpu" if name == "cpu" else f"gpu:{number or 0}"


def _as_floating(value: Any) -> str | None:
    try:
        name = as_dtype_name(value)
    except InputError:
        return None
    return name if name in FLOATING else None


def _exists(device: str) -> bool:
    if not paddle.device.is_compiled_with_cuda():
        return False
    return int(device.partition(":")[2]) < paddle.device.cuda.device_count()


def _devices() -> str:
    if not paddle.device.is_compiled_with_cuda():
        return "the CPU"
    return f"{paddle.device.cuda.device_count()} GPU(s)"
