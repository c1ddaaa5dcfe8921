"""Transpose matrices between the layouts of PyTorch and Paddle, by the type of the layer that owns a key."""

from __future__ import annotations

from collections.abc import Mapping

from paddle import nn

from ppdiffusers.core.tensors import LazyTensor


def linear_weight_keys(layer: nn.Layer) -> set[str]:
    """Return the state-dict keys of `layer` that are weight matrices of an `nn.Linear`.

    Paddle stores such a matrix as [in, out], PyTorch as [out, in]. This iterates over the state dict, because
    `named_sublayers()` returns a tied layer under its first name only.
    """
    return {key for key in layer.state_dict() if _is_linear_weight(layer, key)}


def to_paddle_layout(tensors: Mapping[str, LazyTensor], layer: nn.Layer) -> dict[str, LazyTensor]:
    """Transpose PyTorch's [out, in] matrices of Linear layers to Paddle's [in, out]; keep everything else."""
    return _transpose(tensors, linear_weight_keys(layer))


def to_torch_layout(tensors: Mapping[str, LazyTensor], layer: nn.Layer) -> dict[str, LazyTensor]:
    """Transpose Paddle's [in, out] matrices of Linear layers to PyTorch's [out, in]; keep everything else."""
    return _transpose(tensors, linear_weight_keys(layer))


def _transpose(tensors: Mapping[str, LazyTensor], keys: set[str]) -> dict[str, LazyTensor]:
    # A tensor that is not a matrix is kept: the comparison of shapes reports it.
    return {
        key: tensor.transposed() if key in keys and len(tensor.shape) == 2 else tensor
        for key, tensor in tensors.items()
    }


def _is_linear_weight(layer: nn.Layer, key: str) -> bool:
    *path, leaf = key.split(".")
    owner = layer
    for segment in path:
        found = owner._sub_layers.get(segment)
        if found is None:
            return False
        owner = found
    return leaf == "weight" and isinstance(owner, nn.Linear)
