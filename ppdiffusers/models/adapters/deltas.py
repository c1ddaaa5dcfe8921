"""What an adapter adds to one layer. Each kind of adapter (LoRA, LoHa, ...) is a subclass of `Delta`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.runtime.state import StatefulLayer, traced_state

if TYPE_CHECKING:
    from ppdiffusers.models.adapters.layers import AdapterLayer

Parameters = tuple[paddle.Tensor, paddle.Tensor | None]  # weight and bias of a layer


class Delta(StatefulLayer, nn.Layer):
    """The change that one adapter makes to one layer.

    Its tensors are buffers that are not saved with the network. They are inputs of compiled programs, so a subclass
    reads them with `tensors()`. A tensor with the name "bias", [out], changes the layer's bias.

    Args:
        tensors: the adapter's tensors by name.
        scaling: the adapter's own factor, such as alpha / rank.

    Attributes:
        additive: whether the change does not depend on other adapters, so that their order has no effect.
    """

    state_attributes = ("scaling",)
    additive = True

    def __init__(self, tensors: dict[str, paddle.Tensor], scaling: float = 1.0):
        super().__init__()
        self.scaling = float(scaling)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistable=False)

    def program_state(self) -> tuple[paddle.Tensor, ...]:
        return tuple(self._buffers.values())

    def tensors(self) -> tuple[paddle.Tensor, ...]:
        """Return the tensors in the order of the constructor; while a program is traced, its inputs."""
        return traced_state(self) or tuple(self._buffers.values())

    def named(self) -> dict[str, paddle.Tensor]:
        """Return the tensors by name; while a program is traced, its inputs."""
        return dict(zip(self._buffers, self.tensors()))

    @property
    def has_bias(self) -> bool:
        return "bias" in self._buffers

    @property
    def rank(self) -> int | None:
        """The rank of matrices that `padded` pads, None for others."""
        return None

    def cleared(self) -> Delta | None:
        """Return a delta of the same shapes without effect, None if this kind does not have one."""
        return None

    def padded(self, rank: int) -> Delta:
        """Return the same change with matrices of this rank; itself if they do not have a smaller one."""
        return self

    def mismatch(self, layer: nn.Layer) -> str | None:
        """Return why the delta does not fit the layer, or None if it does."""
        if self.has_bias and list(self._buffers["bias"].shape) != [out_features(layer)]:
            return f"bias {list(self._buffers['bias'].shape)}, expected {[out_features(layer)]}"
        return None

    def change(
        self,
        output: paddle.Tensor,
        x: paddle.Tensor,
        layer: AdapterLayer,
        scale: float | paddle.Tensor,
        active: paddle.Tensor | None = None,
    ) -> paddle.Tensor:
        """Return the layer's output with the change.

        Args:
            output: with the changes of the adapters before this one.
            x: the layer's input.
            scale: the whole factor: `scaling`, the adapter's weight and the scale of the call; 0 without effect.
            active: 1 or 0 while a program is traced, otherwise None.
        """
        return output + self(x, layer, scale)

    def forward(self, x: paddle.Tensor, layer: AdapterLayer, scale: float | paddle.Tensor) -> paddle.Tensor:
        """Return what the change adds to the layer's output for the input `x`, times `scale`."""
        added = self._product(x, layer)
        if self.has_bias:
            added = added + layer.over_channels(self.named()["bias"], added.ndim)
        return (added * scale).astype(x.dtype)

    def _product(self, x: paddle.Tensor, layer: AdapterLayer) -> paddle.Tensor:
        """Apply the change of the weight to `x`."""
        return layer.apply_weight(x, self.delta_weight(layer, 1.0).astype(x.dtype))

    def delta_weight(self, layer: AdapterLayer, scale: float | paddle.Tensor) -> paddle.Tensor:
        """Return what is added to the layer's weight, in the weight's layout and in float32."""
        raise AssertionError("each kind of adapter overrides this")

    def fused(self, current: Parameters, original: Parameters, layer: AdapterLayer, scale: float) -> Parameters:
        """Return weight and bias with the change, in float32.

        Args:
            current: with the changes of the adapters before this one.
            original: those of the layer.
        """
        weight, bias = current
        if self.has_bias and bias is not None:
            bias = bias + self.named()["bias"].astype("float32") * scale
        return weight + self.delta_weight(layer, scale), bias


def out_features(layer: nn.Layer) -> int:
    """Return the number of outputs of a linear layer or output channels of a convolution."""
    return int(layer.weight.shape[1 if isinstance(layer, nn.Linear) else 0])


def is_norm(layer: nn.Layer) -> bool:
    """Return whether the weight is a vector, one factor for each channel."""
    return isinstance(layer, (nn.LayerNorm, nn.GroupNorm))


def in_features(layer: nn.Layer) -> int:
    """Return the number of inputs of a linear layer or input channels of a convolution."""
    return int(layer.weight.shape[0 if isinstance(layer, nn.Linear) else 1])


class LoRA(Delta):
    """Low-rank adaptation (arXiv 2106.09685): the product of two small matrices.

    The matrices have PyTorch's layout, so that files are loaded and saved as they are.

    Args:
        down: [rank, in] for a linear layer; [rank, in, kernel, kernel] for a convolution.
        up: [out, rank] for a linear layer; [out, rank, 1, 1] for a convolution.
        alpha: the delta is scaled by alpha / rank; by default alpha is the rank.
        bias: [out], added to the product (`lora_bias` of PEFT).
    """

    def __init__(
        self, down: paddle.Tensor, up: paddle.Tensor, alpha: float | None = None, bias: paddle.Tensor | None = None
    ):
        if down.ndim not in (2, 4) or up.ndim != down.ndim or down.shape[0] != up.shape[1]:
            raise InputError(
                f"down {tuple(down.shape)} and up {tuple(up.shape)} are not the matrices of one LoRA.",
                expected="[rank, in] and [out, rank], or [rank, in, kernel, kernel] and [out, rank, 1, 1]",
            )
        rank = down.shape[0]
        tensors = {"down": down, "up": up} | ({} if bias is None else {"bias": bias})
        super().__init__(tensors, scaling=(rank if alpha is None else alpha) / rank)

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def alpha(self) -> float:
        return self.scaling * self.rank

    def padded(self, rank: int) -> LoRA:
        if self.rank >= rank:
            return self
        down = paddle.zeros([rank, *self.down.shape[1:]], self.down.dtype)  # [rank, in, ...]
        up = paddle.zeros([self.up.shape[0], rank, *self.up.shape[2:]], self.up.dtype)  # [out, rank, ...]
        down[: self.rank], up[:, : self.rank] = self.down, self.up
        return LoRA(down, up, alpha=self.scaling * rank, bias=self._buffers.get("bias"))

    def cleared(self) -> LoRA:
        """Return a LoRA of the same shapes without effect."""
        tensors = {name: paddle.zeros_like(tensor) for name, tensor in self._buffers.items()}
        return LoRA(tensors["down"], tensors["up"], self.alpha, tensors.get("bias"))

    def mismatch(self, layer: nn.Layer) -> str | None:
        if is_norm(layer):
            return "a norm has a vector of weights, which this kind of adapter does not change"
        kernel = [] if isinstance(layer, nn.Linear) else layer.weight.shape[2:]
        down, up = [self.rank, in_features(layer), *kernel], [out_features(layer), self.rank, *(1 for _ in kernel)]
        if list(self.down.shape) == down and list(self.up.shape) == up:
            return super().mismatch(layer)
        return f"down {list(self.down.shape)} and up {list(self.up.shape)}, expected {down} and {up}"

    def _product(self, x: paddle.Tensor, layer: AdapterLayer) -> paddle.Tensor:
        down, up = self.tensors()[:2]
        hidden = x.astype(down.dtype)
        if down.ndim == 2:
            hidden = paddle.matmul(hidden, down, transpose_y=True)  # [..., rank]
            return paddle.matmul(hidden, up, transpose_y=True)  # [..., out]
        hidden = layer.apply_weight(hidden, down)  # [B, rank, H', W']
        batch, _, height, width = hidden.shape
        added = paddle.matmul(up.flatten(1), hidden.flatten(2))  # [B, out, H' * W']
        return added.reshape([batch, -1, height, width])  # [B, out, H', W']

    def delta_weight(self, layer: AdapterLayer, scale: float | paddle.Tensor) -> paddle.Tensor:
        down, up = (tensor.astype("float32") for tensor in self.tensors()[:2])
        if down.ndim == 2:
            return paddle.matmul(down, up, transpose_x=True, transpose_y=True) * scale  # [in, out]
        product = paddle.matmul(up.flatten(1), down.flatten(1)) * scale  # [out, in * kernel * kernel]
        return product.reshape(layer.weight.shape)
