"""Layers with adapters. An `AdapterLayer` is the original layer object: its class changes, and nothing else.

So every reference to the layer stays valid, its weight, bias, hooks and state-dict keys are the same, and ejecting the
adapters restores the layer exactly. Deltas are sublayers without parameters or persistable buffers.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.models.adapters.convolution import convolve_by_products
from ppdiffusers.models.adapters.deltas import Delta
from ppdiffusers.models.blocks.conv import Conv2D
from ppdiffusers.runtime.kernels.convolution import conv2d
from ppdiffusers.runtime.snapshot import sublayers
from ppdiffusers.runtime.state import (
    StatefulLayer,
    is_tracing,
    needs_constant_filters,
    state_of_numbers,
    traced_state,
)

Scale = float | paddle.Tensor

# id(layer) -> the factor of all adapters of the layer in this context, set by `scaled`. A program gets the factors that
# are set around its call as inputs; those that are set in the traced code belong to the program.
_Scales = contextvars.ContextVar[Mapping[int, Scale]]
_call_scales: _Scales = contextvars.ContextVar("adapter scales", default=MappingProxyType({}))
_traced_scales: _Scales = contextvars.ContextVar("traced adapter scales", default=MappingProxyType({}))


class AdapterLayer(StatefulLayer):
    """Mixin of layers with adapters.

    Attributes:
        adapters: name -> delta, in the order in which they are applied.
        adapter_weights: name -> weight of the adapter in this layer; None is inactive.
        adapters_enabled: whether deltas are added.
        fused_adapters: adapters whose deltas are part of `weight`; if there are any, none is added to the output.
    """

    base_class: type[nn.Layer]
    state_attributes = ("adapter_weights", "adapters_enabled", "_unfused")

    adapters: nn.LayerDict
    adapter_weights: dict[str, float | None]
    adapters_enabled: bool
    fused_adapters: tuple[str, ...]

    def apply_weight(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Apply the layer's operation to `x` with another weight and without bias."""
        raise AssertionError("each kind of layer overrides this")

    def over_channels(self, vector: paddle.Tensor, ndim: int) -> paddle.Tensor:
        """Reshape a vector with one number for each channel so that it multiplies a tensor with `ndim` axes."""
        raise AssertionError("each kind of layer overrides this")

    def add_deltas(self, output: paddle.Tensor, x: paddle.Tensor) -> paddle.Tensor:
        """Apply the deltas for the input `x` to the layer's output."""
        if self.fused_adapters:
            return output
        state, inner = traced_state(self), _traced_scales.get().get(id(self), 1.0)
        if state is None:
            for delta, scale in zip(self.adapters.values(), self._scales(self._call_scale() * inner)):
                if scale is not None and not (delta.additive and isinstance(scale, float) and scale == 0):
                    output = delta.change(output, x, self, scale)
            return output
        for n, delta in enumerate(self.adapters.values()):
            output = delta.change(output, x, self, state[0][n] * inner, state[1][n] if len(state) > 1 else None)
        return output

    def program_state(self) -> tuple[paddle.Tensor, ...]:
        """Return the scales of all adapters, [A]; if there are DoRA among them, also which ones are active, [A]."""
        scales, place = self._scales(self._call_scale()), str(self.weight.place)
        state = (state_of_numbers(tuple(float(scale or 0) for scale in scales), place),)
        if self.is_ordered:
            state += (state_of_numbers(tuple(float(scale is not None) for scale in scales), place),)
        return state

    @property
    def is_ordered(self) -> bool:
        """Whether the order of the adapters is significant."""
        return not all(delta.additive for delta in self.adapters.values())

    def _call_scale(self) -> Scale:
        return _call_scales.get().get(id(self), 1.0)

    def _scales(self, call_scale: Scale) -> list[Scale | None]:
        """Return the whole factor of each adapter in this call, None for inactive ones."""
        weights = [self.adapter_weights[name] if self.adapters_enabled else None for name in self.adapters]
        return [
            None if weight is None else weight * delta.scaling * call_scale
            for weight, delta in zip(weights, self.adapters.values())
        ]

    # -- weights ------------------------------------------------------------------------------------------------

    def fuse(self, scales: Mapping[str, float]) -> None:
        """Add the deltas of these adapters, times their scales and scalings, to weight and bias."""
        with paddle.no_grad():
            if not self.fused_adapters:
                self._unfused = [np.array(parameter.numpy()) for parameter in self._parameters_of_base()]
            original, *rest = (_float32(array) for array in self._unfused)
            fused = self.weight.astype("float32"), None if self.bias is None else self.bias.astype("float32")
            for name, scale in scales.items():
                delta = self.adapters[name]
                fused = delta.fused(fused, (original, *(rest or [None])), self, scale * delta.scaling)
            for parameter, value in zip(self._parameters_of_base(), fused):
                parameter.set_value(value.astype(parameter.dtype))
        self.fused_adapters += tuple(scales)

    def unfuse(self) -> None:
        """Restore the exact weight and bias from before `fuse`."""
        if self.fused_adapters:
            with paddle.no_grad():
                for parameter, array in zip(self._parameters_of_base(), self._unfused):
                    parameter.set_value(paddle.to_tensor(array))  # uint16 arrays become bfloat16
            self.keep_fused()

    def _parameters_of_base(self) -> list[paddle.Tensor]:
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def keep_fused(self) -> None:
        """Make the fused weight and bias the layer's own; `unfuse` has no effect then."""
        self._unfused, self.fused_adapters = None, ()


def _float32(array: np.ndarray) -> paddle.Tensor:
    return paddle.to_tensor(array).astype("float32")  # uint16 arrays become bfloat16


class LoRALinear(AdapterLayer, nn.Linear):
    """`nn.Linear` with adapters."""

    base_class = nn.Linear

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [..., in] -> [..., out]
        return self.add_deltas(super().forward(x), x)

    def apply_weight(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        return F.linear(x, weight)

    def over_channels(self, vector: paddle.Tensor, ndim: int) -> paddle.Tensor:
        return vector


class _ChannelsFirst(AdapterLayer):
    def over_channels(self, vector: paddle.Tensor, ndim: int) -> paddle.Tensor:
        return vector.reshape([1, -1, *[1] * (ndim - 2)])


class LoRAConv2D(_ChannelsFirst, Conv2D):
    """`models.blocks.conv.Conv2D` with adapters."""

    base_class = Conv2D

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, H, W] -> [B, O, H', W']
        return self.add_deltas(super().forward(x), x)

    def apply_weight(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        if needs_constant_filters():
            return convolve_by_products(x, weight, self._stride, [self.padding] * 2, self._dilation)
        return conv2d(x, weight, None, self.stride, self.padding)


class LoRAPaddleConv2D(_ChannelsFirst, nn.Conv2D):
    """`nn.Conv2D` with adapters, for one group and zero padding."""

    base_class = nn.Conv2D

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, H, W] -> [B, O, H', W']
        return self.add_deltas(super().forward(x), x)

    def apply_weight(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        if needs_constant_filters():
            padding = self._padding if isinstance(self._padding, (list, tuple)) else [self._padding] * 2
            return convolve_by_products(x, weight, self._stride, padding, self._dilation)
        return F.conv2d(x, weight, None, self._stride, self._padding, self._dilation)


class AdapterLayerNorm(AdapterLayer, nn.LayerNorm):
    """`nn.LayerNorm` with adapters that change its weight and bias."""

    base_class = nn.LayerNorm

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [..., C] -> [..., C]
        return self.add_deltas(super().forward(x), x)

    def apply_weight(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        return F.layer_norm(x, self._normalized_shape, None, None, self._epsilon) * weight

    def over_channels(self, vector: paddle.Tensor, ndim: int) -> paddle.Tensor:
        return vector


class AdapterGroupNorm(_ChannelsFirst, nn.GroupNorm):
    """`nn.GroupNorm` with adapters that change its weight and bias."""

    base_class = nn.GroupNorm

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:  # [B, C, ...] -> [B, C, ...]
        return self.add_deltas(super().forward(x), x)

    def apply_weight(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        normalized = F.group_norm(x, self._num_groups, self._epsilon, None, None)
        return normalized * self.over_channels(weight, x.ndim)


_ADAPTER_CLASSES = {
    cls.base_class: cls for cls in (LoRALinear, LoRAConv2D, LoRAPaddleConv2D, AdapterLayerNorm, AdapterGroupNorm)
}


def unsupported(layer: nn.Layer) -> str | None:
    """Return why the layer cannot have adapters, or None if it can."""
    if isinstance(layer, AdapterLayer):
        return None
    if type(layer) not in _ADAPTER_CLASSES:
        return f"{type(layer).__name__} cannot have adapters, only linear layers, convolutions and norms can"
    if layer.weight is None:
        return "a norm without weights cannot have adapters"
    if type(layer) is nn.Conv2D and not _is_plain(layer):
        return "a convolution with groups, another layout or another padding than zeros cannot have adapters"
    return None


def _is_plain(conv: nn.Conv2D) -> bool:
    padding = conv._padding if isinstance(conv._padding, (list, tuple)) else [conv._padding] * 2
    symmetric = len(padding) == 2 and all(isinstance(size, int) for size in padding)
    return symmetric and conv._groups == 1 and conv._padding_mode == "zeros" and conv._data_format == "NCHW"


def add_delta(layer: nn.Layer, name: str, delta: Delta, weight: float | None) -> None:
    """Add an adapter to one layer; the first one changes the layer's class."""
    if not isinstance(layer, AdapterLayer):
        layer.__class__ = _ADAPTER_CLASSES[type(layer)]
        layer.adapters, layer.adapter_weights = nn.LayerDict(), {}
        layer.adapters_enabled, layer.fused_adapters, layer._unfused = True, (), None
    layer.adapters[name] = delta
    delta.train() if layer.training else delta.eval()
    layer.adapter_weights[name] = weight


def remove_delta(layer: AdapterLayer, name: str) -> None:
    """Remove an adapter from one layer; removing the last one restores the layer's class."""
    layer.unfuse()
    del layer.adapters[name], layer.adapter_weights[name]
    if not layer.adapters:
        for attribute in ("adapters", "adapter_weights", "adapters_enabled", "fused_adapters", "_unfused"):
            delattr(layer, attribute)
        layer.__class__ = layer.base_class


def set_weights(layer: AdapterLayer, weights: Mapping[str, float | None], order: Sequence[str]) -> None:
    """Set the weights of a layer's adapters, and if their order is significant, apply them in this order."""
    layer.adapter_weights = {name: weights[name] for name in layer.adapters}
    before, chosen = list(layer.adapters), [name for name in order if name in layer.adapters]
    waiting = iter(chosen)
    after = [next(waiting) if name in chosen else name for name in before]  # the others keep their places
    if layer.is_ordered and after != before:
        for name in after:
            layer.adapters[name] = layer.adapters.pop(name)


def adapter_layers(network: nn.Layer) -> list[AdapterLayer]:
    """Return all layers of the network that have adapters; a layer that is shared appears once."""
    found = {id(layer): layer for layer in sublayers(network) if isinstance(layer, AdapterLayer)}
    return list(found.values())


@contextlib.contextmanager
def scaled(network: nn.Layer, scale: Scale) -> Iterator[None]:
    """Multiply all adapters of a network by `scale` while the block runs, in this thread or task only.

    Compiled programs get the scale as an input. This is the scale of `cross_attention_kwargs={"scale": ...}`.
    """
    variable = _traced_scales if is_tracing() else _call_scales
    outer = variable.get()
    inner = {id(layer): outer.get(id(layer), 1.0) * scale for layer in adapter_layers(network)}
    token = variable.set({**outer, **inner})
    try:
        yield
    finally:
        variable.reset(token)
