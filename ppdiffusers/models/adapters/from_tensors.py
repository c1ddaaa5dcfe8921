"""Create deltas from the tensors of a file, in PyTorch's layout."""

from __future__ import annotations

import math
from collections.abc import Mapping

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters.deltas import Delta, LoRA, in_features, out_features
from ppdiffusers.models.adapters.dora import Axis, DoRA
from ppdiffusers.models.adapters.lycoris import Full, LoHa, LoKr

# Start of the names of all tensors -> kind of adapter.
_LYCORIS = {"hada_": LoHa, "lokr_": LoKr, "diff": Full}
_NORM = {"w_norm": "diff", "b_norm": "bias"}  # LyCORIS' names of changes of norms -> ours


def delta_from_tensors(parts: Mapping[str, paddle.Tensor], alpha: float | None, layer: nn.Layer) -> Delta:
    """Create the delta of one layer.

    Args:
        parts: name of a part -> tensor: "down" [rank, in, ...], "up" [out, rank, ...], "mid"
            [rank, rank, kernel, kernel] of a Tucker decomposition, "bias" [out]; or the tensors of one class of
            `lycoris`; "w_norm" and "b_norm" [C] of a norm; with any of them "diff_b" [out], a change of the bias to
            which alpha does not apply. With "magnitude" (PEFT) or "dora_scale" (LyCORIS) a weight decomposition.
        alpha: the delta is scaled by alpha / rank; by default alpha is the rank.
        layer: the layer that it is for; the delta gets the dtype of its weight.

    Raises:
        InputError: the parts are not those of one kind of adapter.
    """
    magnitudes = {name: parts[name] for name in ("magnitude", "dora_scale") if name in parts}
    delta = _without_magnitude({name: part for name, part in parts.items() if name not in magnitudes}, alpha, layer)
    if not magnitudes:
        return delta
    if len(magnitudes) > 1 or delta.has_bias:
        raise InputError(f"the parts {', '.join(sorted(parts))} are not those of one adapter")
    ((name, magnitude),) = magnitudes.items()
    magnitude = magnitude.astype(layer.weight.dtype)
    axis = "output" if name == "magnitude" else _decomposed_axis(magnitude, layer)
    return DoRA(delta, magnitude.flatten(), axis)


def _without_magnitude(parts: Mapping[str, paddle.Tensor], alpha: float | None, layer: nn.Layer) -> Delta:
    named = {_NORM.get(name, name): part for name, part in parts.items() if name != "diff_b"}
    delta = _of_matrices(named or {"diff": _no_change(layer)}, alpha, layer)
    change = parts.get("diff_b")
    if delta is None or change is not None and (delta.has_bias or not delta.scaling):
        raise InputError(f"the parts {', '.join(sorted(parts))} are not those of one adapter")
    if change is not None:  # alpha does not apply to it
        bias = (change.astype("float32") / delta.scaling).astype(layer.weight.dtype)
        delta.register_buffer("bias", bias, persistable=False)
    return delta


def _no_change(layer: nn.Layer) -> paddle.Tensor:
    """Return the change of the weight of an adapter that changes the bias only, in PyTorch's layout."""
    shape = reversed(layer.weight.shape) if isinstance(layer, nn.Linear) else layer.weight.shape
    return paddle.zeros(list(shape))


def _of_matrices(parts: Mapping[str, paddle.Tensor], alpha: float | None, layer: nn.Layer) -> Delta | None:
    if parts.keys() - {"mid", "bias"} == {"down", "up"}:
        return _lora(parts, alpha, layer)
    tensors = {name: part.astype(layer.weight.dtype) for name, part in parts.items()}
    for prefix, kind in _LYCORIS.items():
        if all(name.startswith(prefix) or name == "bias" for name in tensors):
            return kind(tensors, alpha)
    return None


def _decomposed_axis(scale: paddle.Tensor, layer: nn.Layer) -> Axis:
    """Return the axis of LyCORIS' norms, whose shape is [out, 1, ...] or [1, in, ...]."""
    size, channels = math.prod(scale.shape), list(scale.shape[:2])
    if channels == [out_features(layer), 1] and size == channels[0]:
        return "output"
    if channels == [1, in_features(layer)] and size == channels[1]:
        return "input"
    raise InputError(
        f"dora_scale {list(scale.shape)}, expected [{out_features(layer)}, 1, ...] or [1, {in_features(layer)}, ...]"
    )


def _lora(parts: Mapping[str, paddle.Tensor], alpha: float | None, layer: nn.Layer) -> LoRA:
    down, up = parts["down"], parts["up"]
    if "mid" in parts:
        # down is a 1x1 convolution, and mid has the kernel: their product is an ordinary `down`
        down = paddle.einsum("abij,bc->acij", parts["mid"], down.flatten(1))  # [rank, in, kernel, kernel]
    dtype = layer.weight.dtype
    bias = parts["bias"].astype(dtype) if "bias" in parts else None
    return LoRA(_fitted(down, layer).astype(dtype), _fitted(up, layer).astype(dtype), alpha, bias)


def _fitted(matrix: paddle.Tensor, layer: nn.Layer) -> paddle.Tensor:
    """Convert between matrices and 1x1 convolutions: files have either for a projection."""
    linear = isinstance(layer, nn.Linear)
    if linear and matrix.ndim == 4 and list(matrix.shape[2:]) == [1, 1]:
        return matrix.flatten(1)
    return matrix.reshape([*matrix.shape, 1, 1]) if not linear and matrix.ndim == 2 else matrix
