"""Arrays of schedulers: tensors for those who use a scheduler, and numpy copies that `step` reads.

`scheduler.timesteps` is a Paddle tensor, as scripts expect; `scheduler.host_timesteps` is the same array on the host,
so that a step copies nothing back from a device. Assigning to the tensor, or changing it in place, changes the copy.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import paddle
from paddle import Tensor


def to_array(values: object) -> np.ndarray:
    """Convert a number, a sequence, an array or a tensor to a numpy array."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    half = values.dtype in (paddle.float16, paddle.bfloat16)  # numpy does not have bfloat16
    return (values.astype(paddle.float32) if half else values).numpy()


class _Mirror:
    """An array on the host and, after its first use, a tensor with the same values."""

    def __init__(self, values: object):
        self.tensor: Tensor | None = values if isinstance(values, Tensor) else None
        self.device: str | None = None  # of a tensor that is created here
        self.version = 0 if self.tensor is None else self.tensor.inplace_version
        self._array: Any = None if values is None else self._read(values)

    @staticmethod
    def _read(values: object) -> np.ndarray:
        array = to_array(values)
        if array.dtype == np.float64 and not isinstance(values, np.ndarray | np.generic | Tensor):
            array = array.astype(np.float32)  # Python numbers
        return array if array.ndim else array[()]

    @property
    def array(self) -> Any:
        """The values on the host; they are read again only after the tensor was changed in place."""
        if self.tensor is not None and self.tensor.inplace_version != self.version:
            self._array, self.version = self._read(self.tensor), self.tensor.inplace_version
        return self._array

    def as_tensor(self) -> Tensor | None:
        """The values as a tensor on the default device, or the tensor that was assigned."""
        array = self.array
        if array is None or (self.tensor is not None and self.device is None):
            return self.tensor
        device = paddle.get_device()
        if self.tensor is None or self.device != device:
            self.tensor, self.device = paddle.to_tensor(np.ascontiguousarray(array).reshape(np.shape(array))), device
            self.version = self.tensor.inplace_version
        return self.tensor

    def __reduce__(self) -> tuple:
        return type(self), (self.array,)


class HostArray:
    """The numpy copy of a `TensorAttribute`; None if that is None."""

    def __init__(self, attribute: TensorAttribute):
        self._attribute = attribute

    @overload
    def __get__(self, instance: None, owner: type) -> HostArray: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Any: ...

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else self._attribute.mirror(instance).array

    def __set__(self, instance: object, values: object) -> None:
        raise AttributeError(f"Assign to `{self._attribute.name}`: this is its copy on the host.")


class TensorAttribute:
    """An attribute of an object that is assigned arrays or tensors and read as a tensor.

    class Scheduler:
        timesteps = TensorAttribute()
        host_timesteps = timesteps.host
    """

    name: str

    def __init__(self) -> None:
        self.host = HostArray(self)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def mirror(self, instance: object) -> _Mirror:
        """The mirror of an instance.

        Raises:
            AttributeError: nothing was assigned.
        """
        mirror = instance.__dict__.get(self.name)
        if mirror is None:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute {self.name!r}")
        return mirror

    @overload
    def __get__(self, instance: None, owner: type) -> TensorAttribute: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Tensor: ...

    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else self.mirror(instance).as_tensor()

    def __set__(self, instance: object, values: object) -> None:
        instance.__dict__[self.name] = _Mirror(values)


class Timesteps:
    """Mixin for objects with the timesteps of a run: [n]."""

    timesteps = TensorAttribute()
    host_timesteps = timesteps.host


class Sigmas:
    """Mixin for objects with noise levels: [n] or, with that after the last step, [n + 1]."""

    sigmas = TensorAttribute()
    host_sigmas = sigmas.host
