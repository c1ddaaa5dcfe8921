"""Create deltas from the tensors of a file, in PyTorch's layout."""

from __future__ import annotations

from collections.abc import Mapping

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters.deltas import Delta, LoRA
from ppdiffusers.models.adapters.lycoris import Full, LoHa, LoKr

# Start of the names of all tensors -> kind of adapter.
_LYCORIS = {"hada_": LoHa, "lokr_": LoKr, "diff": Full}


def delta_from_tensors(parts: Mapping[str, paddle.Tensor], alpha: float | None, layer: nn.Layer) -> Delta:
    """Create the delta of one layer.

    Args:
        parts: name of a part -> float32 tensor: "down" [rank, in, ...], "up" [out, rank, ...], "mid"
            [rank, rank, kernel, kernel] of a Tucker decomposition; or the tensors of one class of `lycoris`.
        alpha: the delta is scaled by alpha / rank; by default alpha is the rank.
        layer: the layer that it is for; the delta gets the dtype of its weight.

    Raises:
        InputError: the parts are not those of one kind of adapter.
    """
    if parts.keys() in ({"down", "up"}, {"down", "up", "mid"}):
        return _lora(parts, alpha, layer)
    for prefix, kind in _LYCORIS.items():
        if all(name.startswith(prefix) for name in parts):
            return kind({name: tensor.astype(layer.weight.dtype) for name, tensor in parts.items()}, alpha)
    raise InputError(f"the parts {', '.join(sorted(parts))} are not those of one adapter")


def _lora(parts: Mapping[str, paddle.Tensor], alpha: float | None, layer: nn.Layer) -> LoRA:
    down, up = parts["down"], parts["up"]
    if "mid" in parts:
        # down is a 1x1 convolution, and mid has the kernel: their product is an ordinary `down`
        down = paddle.einsum("abij,bc->acij", parts["mid"], down.flatten(1))  # [rank, in, kernel, kernel]
    dtype = layer.weight.dtype
    return LoRA(_fitted(down, layer).astype(dtype), _fitted(up, layer).astype(dtype), alpha)


def _fitted(matrix: paddle.Tensor, layer: nn.Layer) -> paddle.Tensor:
    """Convert between matrices and 1x1 convolutions: files have either for a projection."""
    linear = isinstance(layer, nn.Linear)
    if linear and matrix.ndim == 4 and list(matrix.shape[2:]) == [1, 1]:
        return matrix.flatten(1)
    return matrix.reshape([*matrix.shape, 1, 1]) if not linear and matrix.ndim == 2 else matrix
