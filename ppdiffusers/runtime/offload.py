"""Offloading: networks, or single layers, are on the device only while they compute, and in host memory otherwise."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import paddle
from paddle import nn


class Moves(Protocol):
    """How tensors get to the device and back; the tensor objects stay the same."""

    def load(self, tensors: Iterable[paddle.Tensor]) -> None: ...

    def unload(self, tensors: Iterable[paddle.Tensor]) -> None: ...


@dataclass
class _Loaded:
    """A tensor on the device: its values in host memory, and how to see whether the ones on the device changed."""

    host: paddle.Tensor
    address: int
    version: int


class DeviceMoves:
    """Copies tensors to a device. Their values stay in host memory, so that nothing is copied back.

    Values that were changed on the device (a LoRA that is fused, for one) are copied back.

    Args:
        device: such as "gpu:0".
    """

    def __init__(self, device: str):
        kind, _, number = device.partition(":")
        self._place = paddle.CPUPlace() if kind == "cpu" else paddle.CUDAPlace(int(number or 0))
        self._loaded: dict[int, _Loaded] = {}

    def load(self, tensors: Iterable[paddle.Tensor]) -> None:
        for tensor in tensors:
            host = paddle.Tensor()
            tensor._share_buffer_to(host)
            tensor._copy_to(self._place, True)._share_buffer_to(tensor)
            self._loaded[id(tensor)] = _Loaded(host, tensor.data_ptr(), tensor.inplace_version)

    def unload(self, tensors: Iterable[paddle.Tensor]) -> None:
        for tensor in tensors:
            loaded = self._loaded.pop(id(tensor), None)
            if loaded is None or (loaded.address, loaded.version) != (tensor.data_ptr(), tensor.inplace_version):
                tensor.cpu()._share_buffer_to(tensor)
            else:
                loaded.host._share_buffer_to(tensor)


@dataclass(eq=False)
class _Unit:
    """Layers whose tensors move together."""

    layers: list[nn.Layer]
    loaded: list[paddle.Tensor] = field(default_factory=list)  # on the device now

    def tensors(self) -> list[paddle.Tensor]:
        """Return the tensors that exist now: adapters may have been added."""
        own = (t for layer in self.layers for t in (*layer._parameters.values(), *layer._buffers.values()))
        return list({id(tensor): tensor for tensor in own if tensor is not None}.values())


class Offload:
    """Keeps networks in host memory, and moves each to the device when it is called.

    A network stays on the device until another one is called or `unload` is called. With `layer_by_layer`, each layer
    returns to host memory right after it has run: the least memory, and the slowest.

    Forward hooks of all layers move them, so that every method of a network works, such as `vae.decode`.

    Args:
        networks: the networks, which must be in host memory.
        device: where they compute.
        moves: how tensors move; by default copies to `device`.
        layer_by_layer: move single layers instead of whole networks.
    """

    def __init__(
        self,
        networks: Iterable[nn.Layer],
        device: str,
        moves: Moves | None = None,
        *,
        layer_by_layer: bool = False,
    ):
        self.device = device
        self._moves = DeviceMoves(device) if moves is None else moves
        self._lock = threading.RLock()
        self._on_device: list[_Unit] = []
        self._hooks: list[Any] = []
        for network in networks:
            layers = network.sublayers(include_self=True)
            if layer_by_layer:
                for layer in layers:
                    self._watch(_Unit([layer]), unload_after=True)
            else:
                self._watch(_Unit(layers), unload_after=False)

    def unload(self) -> None:
        """Move everything to host memory."""
        with self._lock:
            while self._on_device:
                self._unload(self._on_device[-1])

    def remove(self) -> None:
        """Move everything to host memory, and stop moving it."""
        self.unload()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _watch(self, unit: _Unit, unload_after: bool) -> None:
        for layer in unit.layers:
            if unload_after and not unit.tensors():
                continue
            self._hooks.append(layer.register_forward_pre_hook(_Before(self, unit, alone=not unload_after)))
            if unload_after:
                self._hooks.append(layer.register_forward_post_hook(_After(self, unit)))

    def _load(self, unit: _Unit, alone: bool) -> None:
        with self._lock:
            if unit in self._on_device:
                return
            if alone:
                self.unload()
            unit.loaded = unit.tensors()
            self._moves.load(unit.loaded)
            self._on_device.append(unit)

    def _unload(self, unit: _Unit) -> None:
        with self._lock:
            if unit in self._on_device:
                self._on_device.remove(unit)
                self._moves.unload(unit.loaded)
                unit.loaded = []


@dataclass(eq=False)
class _Before:
    """Hook that runs before a layer's forward."""

    offload: Offload
    unit: _Unit
    alone: bool

    def __call__(self, layer: nn.Layer, inputs: Any) -> None:
        self.offload._load(self.unit, self.alone)


@dataclass(eq=False)
class _After:
    """Hook that runs after a layer's forward."""

    offload: Offload
    unit: _Unit

    def __call__(self, layer: nn.Layer, inputs: Any, output: Any) -> None:
        self.offload._unload(self.unit)
