"""Weight decomposition (DoRA, arXiv 2402.09353): an adapter changes a weight's direction, a vector its magnitude."""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import nn

from ppdiffusers.models.adapters.deltas import Delta, Parameters, in_features, is_norm, out_features
from ppdiffusers.models.adapters.layers import AdapterLayer

Axis = Literal["output", "input"]

_EPSILON = 1.2e-7  # that of LyCORIS: channels without weights stay zero


class DoRA(Delta):
    """The weight W becomes m (W + D) / ||W + D||, with the change D of another adapter.

    As in PEFT, D contains the adapter's weight, also in the norm, and the factor m / ||W + D|| multiplies what the
    adapters before this one have added. So an adapter with weight 0 has an effect, and the order is significant.

    Args:
        inner: the change D.
        magnitude: m, [out]; [in] if the norms are those of input channels.
        axis: whether there is one norm for each output channel, or one for each input channel (LyCORIS with
            `wd_on_output=False`).
    """

    additive = False

    def __init__(self, inner: Delta, magnitude: paddle.Tensor, axis: Axis = "output"):
        super().__init__({"magnitude": magnitude}, inner.scaling)
        self.inner, self.axis = inner, axis

    @property
    def rank(self) -> int | None:
        return self.inner.rank

    def padded(self, rank: int) -> DoRA:
        return DoRA(self.inner.padded(rank), self._buffers["magnitude"], self.axis)

    def mismatch(self, layer: nn.Layer) -> str | None:
        if is_norm(layer):
            return "a norm has a vector of weights, which cannot be decomposed"
        size = out_features(layer) if self.axis == "output" else in_features(layer)
        found = list(self._buffers["magnitude"].shape)
        return self.inner.mismatch(layer) or (None if found == [size] else f"magnitude {found}, expected [{size}]")

    def change(
        self,
        output: paddle.Tensor,
        x: paddle.Tensor,
        layer: AdapterLayer,
        scale: float | paddle.Tensor,
        active: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        factor = self._factor(layer.weight, layer, scale)  # [out] or [in]
        if active is not None:
            factor = 1 + active * (factor - 1)
        factor = layer.over_channels(factor.astype(x.dtype), x.ndim)
        if self.axis == "input":
            rescaled = layer.apply_weight(x * (factor - 1), layer.weight)
            return output + rescaled + self.inner(x * factor, layer, scale)
        if layer.bias is None:
            return factor * (output + self.inner(x, layer, scale))
        bias = layer.over_channels(layer.bias, x.ndim)
        return bias + factor * (output - bias + self.inner(x, layer, scale))

    def delta_weight(self, layer: AdapterLayer, scale: float | paddle.Tensor) -> paddle.Tensor:
        weight = layer.weight.astype("float32")
        return self.fused((weight, None), (weight, None), layer, scale)[0] - weight

    def fused(
        self, current: Parameters, original: Parameters, layer: AdapterLayer, scale: float | paddle.Tensor
    ) -> Parameters:
        factor = self._factor(original[0], layer, scale)  # [out] or [in]
        weight = current[0] + self.inner.delta_weight(layer, scale)
        if self.axis == "input":  # adapters before this one are not rescaled
            rescaled = (original[0] + self.inner.delta_weight(layer, scale)) * self._over_weight(factor, weight)
            return current[0] + rescaled - original[0], current[1]
        weight = weight * self._over_weight(factor, weight)
        if current[1] is None or original[1] is None:
            return weight, current[1]
        return weight, original[1] + factor * (current[1] - original[1])

    def _factor(self, weight: paddle.Tensor, layer: AdapterLayer, scale: float | paddle.Tensor) -> paddle.Tensor:
        """Return m / ||W + D|| in float32; as in the paper, no gradient flows through the norm."""
        with paddle.no_grad():
            changed = weight.astype("float32") + self.inner.delta_weight(layer, scale)
            kept = self._channel_axis(changed)
            axes = [axis for axis in range(changed.ndim) if axis != kept]
            norm = paddle.sqrt(paddle.sum(paddle.square(changed), axis=axes))  # [out] or [in]
        return self.tensors()[0].astype("float32") / (norm + _EPSILON)

    def _over_weight(self, factor: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        shape = [1] * weight.ndim
        shape[self._channel_axis(weight)] = -1
        return factor.reshape(shape)

    def _channel_axis(self, weight: paddle.Tensor) -> int:
        """Return the axis of the channels in a weight [in, out] or [out, in, kernel, kernel]."""
        return int((self.axis == "output") == (weight.ndim == 2))
