"""Transpose or not: asked of the layer that owns the key, never of a list of names."""

from __future__ import annotations

from collections.abc import Mapping

from paddle import nn

from ppdiffusers.core.tensors import LazyTensor


def linear_weight_keys(layer: nn.Layer) -> set[str]:
    """State-dict keys of `layer` that are the weight matrix of an `nn.Linear`.

    Paddle holds such a matrix as [in, out], PyTorch as [out, in]. The keys of the state dict are walked, not
    `named_sublayers()`: a tied layer appears there under its first name only.
    """
    return {key for key in layer.state_dict() if _is_linear_weight(layer, key)}


def to_paddle_layout(tensors: Mapping[str, LazyTensor], layer: nn.Layer) -> dict[str, LazyTensor]:
    """PyTorch's [out, in] matrices of Linear layers -> Paddle's [in, out]; everything else as it is."""
    return _transpose(tensors, linear_weight_keys(layer))


def to_torch_layout(tensors: Mapping[str, LazyTensor], layer: nn.Layer) -> dict[str, LazyTensor]:
    """Paddle's [in, out] matrices of Linear layers -> PyTorch's [out, in]: the same swap the other way."""
    return _transpose(tensors, linear_weight_keys(layer))


def _transpose(tensors: Mapping[str, LazyTensor], keys: set[str]) -> dict[str, LazyTensor]:
    # What is not a matrix cannot be transposed: it stays, and the comparison of shapes reports it.
    return {
        key: tensor.transposed() if key in keys and len(tensor.shape) == 2 else tensor
        for key, tensor in tensors.items()
    }


def _is_linear_weight(layer: nn.Layer, key: str) -> bool:
    *path, leaf = key.split(".")
    owner = layer
    for segment in path:
        owner = owner._sub_layers.get(segment)
        if owner is None:
            return False
    return leaf == "weight" and isinstance(owner, nn.Linear)
