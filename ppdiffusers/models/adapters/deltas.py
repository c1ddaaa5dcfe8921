"""What an adapter adds to one layer. Each kind of adapter (LoRA, LoHa, ...) is a subclass of `Delta`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.runtime.state import StatefulLayer, traced_state

if TYPE_CHECKING:
    from ppdiffusers.models.adapters.layers import AdapterLayer


class Delta(StatefulLayer, nn.Layer):
    """The change that one adapter makes to one layer.

    Its tensors are buffers that are not saved with the network. They are inputs of compiled programs, so a subclass
    reads them with `tensors()`.

    Args:
        tensors: the adapter's tensors by name.
        scaling: the adapter's own factor, such as alpha / rank.
    """

    state_attributes = ("scaling",)

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

    def mismatch(self, layer: nn.Layer) -> str | None:
        """Return why the delta does not fit the layer, or None if it does."""
        raise AssertionError("each kind of adapter overrides this")

    def forward(self, x: paddle.Tensor, layer: AdapterLayer, scale: float | paddle.Tensor) -> paddle.Tensor:
        """Return what is added to the layer's output for the input `x`.

        Args:
            scale: the whole factor: `scaling`, the adapter's weight and the scale of the call.
        """
        weight = self.delta_weight(layer, 1.0).astype(x.dtype)
        return (layer.apply_weight(x, weight) * scale).astype(x.dtype)

    def delta_weight(self, layer: AdapterLayer, scale: float) -> paddle.Tensor:
        """Return what is added to the layer's weight, in the weight's layout and in float32."""
        raise AssertionError("each kind of adapter overrides this")


class LoRA(Delta):
    """Low-rank adaptation (arXiv 2106.09685): the product of two small matrices.

    The matrices have PyTorch's layout, so that files are loaded and saved as they are.

    Args:
        down: [rank, in] for a linear layer; [rank, in, kernel, kernel] for a convolution.
        up: [out, rank] for a linear layer; [out, rank, 1, 1] for a convolution.
        alpha: the delta is scaled by alpha / rank; by default alpha is the rank.
    """

    def __init__(self, down: paddle.Tensor, up: paddle.Tensor, alpha: float | None = None):
        if down.ndim not in (2, 4) or up.ndim != down.ndim or down.shape[0] != up.shape[1]:
            raise InputError(
                f"down {tuple(down.shape)} and up {tuple(up.shape)} are not the matrices of one LoRA.",
                expected="[rank, in] and [out, rank], or [rank, in, kernel, kernel] and [out, rank, 1, 1]",
            )
        rank = down.shape[0]
        super().__init__({"down": down, "up": up}, scaling=(rank if alpha is None else alpha) / rank)

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def alpha(self) -> float:
        return self.scaling * self.rank

    def padded(self, rank: int) -> LoRA:
        """Return the same LoRA with zeros up to this rank; itself if its rank is not smaller."""
        if self.rank >= rank:
            return self
        down = paddle.zeros([rank, *self.down.shape[1:]], self.down.dtype)  # [rank, in, ...]
        up = paddle.zeros([self.up.shape[0], rank, *self.up.shape[2:]], self.up.dtype)  # [out, rank, ...]
        down[: self.rank], up[:, : self.rank] = self.down, self.up
        return LoRA(down, up, alpha=self.scaling * rank)

    def mismatch(self, layer: nn.Layer) -> str | None:
        if isinstance(layer, nn.Linear):
            inputs, outputs = layer.weight.shape
            down, up = [self.rank, inputs], [outputs, self.rank]
        else:
            outputs, inputs, *kernel = layer.weight.shape
            down, up = [self.rank, inputs, *kernel], [outputs, self.rank, 1, 1]
        if list(self.down.shape) == down and list(self.up.shape) == up:
            return None
        return f"down {list(self.down.shape)} and up {list(self.up.shape)}, expected {down} and {up}"

    def forward(self, x: paddle.Tensor, layer: AdapterLayer, scale: float | paddle.Tensor) -> paddle.Tensor:
        down, up = self.tensors()
        hidden = x.astype(down.dtype)
        if down.ndim == 2:
            hidden = paddle.matmul(hidden, down, transpose_y=True)  # [..., rank]
            added = paddle.matmul(hidden, up, transpose_y=True)  # [..., out]
        else:
            hidden = layer.apply_weight(hidden, down)  # [B, rank, H', W']
            batch, _, height, width = hidden.shape
            added = paddle.matmul(up.flatten(1), hidden.flatten(2))  # [B, out, H' * W']
            added = added.reshape([batch, -1, height, width])  # [B, out, H', W']
        return (added * scale).astype(x.dtype)

    def delta_weight(self, layer: AdapterLayer, scale: float) -> paddle.Tensor:
        down, up = (tensor.astype("float32") for tensor in self.tensors())
        if down.ndim == 2:
            return paddle.matmul(down, up, transpose_x=True, transpose_y=True) * scale  # [in, out]
        product = paddle.matmul(up.flatten(1), down.flatten(1)) * scale  # [out, in * kernel * kernel]
        return product.reshape(layer.weight.shape)
