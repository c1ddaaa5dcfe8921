"""Offloading of a pipeline's networks: diffusers' methods over `runtime.offload`."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.device import parse_device_and_dtype
from ppdiffusers.runtime.offload import Moves, Offload
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


class OffloadingMixin:
    """Keep the networks of a pipeline in host memory while they do not compute."""

    _offload: Offload | None = None
    # in diffusers, the order of the networks; here a network moves when it is called, whatever the order
    model_cpu_offload_seq: str | None = None
    hf_device_map: dict[str, Any] | None = None

    def _layers(self) -> dict[str, nn.Layer]:
        raise InputError(f"{type(self).__name__} has no networks.")

    @property
    def device(self) -> str:
        """The device of the networks: "cpu", "gpu:0", ..."""
        for layer in self._layers().values():
            for parameter in layer.parameters():
                place = parameter.place
                return f"gpu:{place.gpu_device_id()}" if place.is_gpu_place() else "cpu"
        return paddle.device.get_device()

    @property
    def _execution_device(self) -> str:
        """The device that computes; that of the networks, unless they are offloaded."""
        return self.device if self._offload is None else self._offload.device

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: Any = None) -> None:
        """Keep the networks in host memory, and move each to the GPU when it is called and back when another one is.

        Without a GPU this has no effect, which is logged.

        Args:
            gpu_id: number of the GPU; by default that of `device`.
            device: "gpu", "gpu:1", ...; by default the first GPU.

        Raises:
            InputError: the device does not exist.
        """
        self._enable_offload(gpu_id, device, layer_by_layer=False)

    def enable_sequential_cpu_offload(self, gpu_id: int | None = None, device: Any = None) -> None:
        """The same for each layer of the networks: the least memory, and the slowest."""
        self._enable_offload(gpu_id, device, layer_by_layer=True)

    def maybe_free_model_hooks(self) -> None:
        """Move all offloaded networks to host memory; pipelines do this at the end of a call."""
        if self._offload is not None:
            self._offload.unload()

    def remove_all_hooks(self) -> None:
        """Stop offloading. The networks stay in host memory; move them with `to`."""
        if self._offload is not None:
            self._offload.remove()
        self._offload = None

    def reset_device_map(self) -> None:
        """Stop offloading, as there are no device maps here."""
        self.remove_all_hooks()

    def _enable_offload(self, gpu_id: int | None, device: Any, *, layer_by_layer: bool) -> None:
        if not paddle.device.is_compiled_with_cuda():
            logger.info("%s computes on the CPU, so that nothing is offloaded.", type(self).__name__)
            return
        name, _ = parse_device_and_dtype(device or "gpu" if gpu_id is None else f"gpu:{gpu_id}")
        self._offload_to(str(name), None, layer_by_layer=layer_by_layer)

    def _offload_to(self, device: str, moves: Moves | None, *, layer_by_layer: bool) -> None:
        """Offload with `moves`, which tests replace."""
        self.remove_all_hooks()
        for layer in self._layers().values():
            layer._to_impl(device="cpu")  # half precision stays: nothing computes there
        self._offload = Offload(self._layers().values(), device, moves, layer_by_layer=layer_by_layer)
