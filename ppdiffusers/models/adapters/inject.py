"""Inject adapters into a network, weight them, fuse them into its weights, and eject them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import paddle
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters.deltas import Delta, LoRA, is_norm
from ppdiffusers.models.adapters.layers import (
    AdapterLayer,
    adapter_layers,
    add_delta,
    remove_delta,
    set_weights,
    unsupported,
)
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

# One number for all layers, or numbers by path of the layer; layers that are not named have weight 1.
Weight = float | Mapping[str, float]


def inject(network: nn.Layer, name: str, deltas: Mapping[str, Delta], weight: float | None = 1.0) -> None:
    """Add an adapter to a network. Its other adapters keep their weights.

    Args:
        network: a network, or a part of it.
        name: the adapter's name, without dots.
        deltas: path of a layer, such as "mid_block.attentions.0.proj_in", -> its delta.
        weight: the adapter's weight; None adds it inactive.

    Raises:
        InputError: a layer is missing or unsupported, a delta does not fit its layer, or the name is in use; all
            problems are listed, and nothing is changed.
    """
    layers = dict(network.named_sublayers(include_self=True))
    problems = [f"{path or 'the network'}: {problem}" for path, problem in _problems(layers, name, deltas)]
    if not deltas:
        problems.append("the adapter has no deltas")
    if not name or "." in name:
        problems.append(f"{name!r} is not a valid name: it is empty or contains a dot")
    if problems:
        raise InputError(
            f"The adapter {name!r} cannot be injected into {type(network).__name__}; nothing was changed.",
            problems=problems,
        )
    for path, delta in deltas.items():
        add_delta(layers[path], name, delta, None if weight is None else float(weight))


def replace(network: nn.Layer, name: str, deltas: Mapping[str, Delta]) -> None:
    """Replace the deltas of an adapter by others, in the same order of adapters.

    As in PEFT, the weight becomes 1 if the adapter is active.

    Compiled programs stay valid if the shapes are the same and there are no new layers. In layers that the new adapter
    does not have, the matrices of a LoRA become zero.

    Raises:
        InputError: the network has no adapter of this name, it is fused, or a delta does not fit; nothing is changed.
    """
    check_names(network, [name])
    layers = dict(network.named_sublayers(include_self=True))
    own = {path: layer for path, layer in layers.items() if isinstance(layer, AdapterLayer) and name in layer.adapters}
    others = {path: delta for path, delta in deltas.items() if path not in own}
    problems = _problems(layers, name, others)
    problems += [(path, p) for path, delta in deltas.items() if path in own and (p := delta.mismatch(own[path]))]
    problems += [(path, f"{name!r} is fused: unfuse it first") for path in own if name in own[path].fused_adapters]
    if problems:
        raise InputError(
            f"The adapter {name!r} of {type(network).__name__} cannot be replaced; nothing was changed.",
            problems=[f"{path}: {problem}" for path, problem in problems],
        )
    active = any(layer.adapter_weights[name] is not None for layer in own.values())
    weight = 1.0 if active else None
    for path, layer in own.items():
        delta = deltas[path] if path in deltas else layer.adapters[name].cleared()
        if delta is None:
            remove_delta(layer, name)
        else:
            layer.adapters[name] = delta
            layer.adapter_weights[name] = weight
            delta.train() if layer.training else delta.eval()
    for path, delta in others.items():
        add_delta(layers[path], name, delta, weight)


def _problems(layers: Mapping[str, nn.Layer], name: str, deltas: Mapping[str, Delta]) -> list[tuple[str, str]]:
    found, seen = [], set()
    for path, delta in deltas.items():
        layer = layers.get(path)
        if layer is None:
            problem = "unknown layer"
        elif id(layer) in seen or isinstance(layer, AdapterLayer) and name in layer.adapters:
            problem = f"the layer already has an adapter {name!r}"
        else:
            problem = unsupported(layer) or delta.mismatch(layer)
            seen.add(id(layer))
        if problem is not None:
            found.append((path, problem))
    return found


def create_lora(
    network: nn.Layer, targets: str | Sequence[str], rank: int = 8, alpha: float | None = None
) -> dict[str, LoRA]:
    """Create a new LoRA for training: `down` is random, `up` is zero, so that the network's output is unchanged.

    Args:
        targets: last parts of paths, such as ["to_q", "to_v"], or a regular expression for whole paths.
        alpha: by default the rank.

    Raises:
        InputError: no layer matches, or layers that match are unsupported; all of them are listed.
    """
    return {path: new_lora(layer, rank, alpha) for path, layer in lora_targets(network, targets).items()}


def lora_targets(network: nn.Layer, targets: str | Sequence[str]) -> dict[str, nn.Layer]:
    """Return the layers for a new LoRA by their paths; argument and errors are those of `create_lora`."""
    layers = {path: layer for path, layer in network.named_sublayers() if _matches(path, targets)}
    problems = [f"{path}: {problem}" for path, layer in layers.items() if (problem := _without_matrix(layer))]
    if problems or not layers:
        raise InputError(
            f"A LoRA for {targets!r} cannot be created in {type(network).__name__}.",
            problems=problems or ["no layer matches"],
        )
    return layers


def _without_matrix(layer: nn.Layer) -> str | None:
    """Return why the layer cannot have a LoRA, or None if it can."""
    return unsupported(layer) or ("a norm has no matrix" if is_norm(layer) else None)


def _matches(path: str, targets: str | Sequence[str]) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, path) is not None
    return any(path == target or path.endswith(f".{target}") for target in targets)


def new_lora(layer: nn.Layer, rank: int, alpha: float | None) -> LoRA:
    """Create a LoRA for a layer; see `create_lora`."""
    dtype = layer.weight.dtype
    if isinstance(layer, nn.Linear):
        inputs, outputs = layer.weight.shape
        down_shape, up_shape = [rank, inputs], [outputs, rank]
    else:
        outputs, inputs, *kernel = layer.weight.shape
        down_shape, up_shape = [rank, inputs, *kernel], [outputs, rank, 1, 1]
    limit = 1 / math.sqrt(math.prod(down_shape[1:]))  # PyTorch's initial values of a linear layer
    lora = LoRA(
        paddle.uniform(down_shape, "float32", -limit, limit).astype(dtype), paddle.zeros(up_shape).astype(dtype), alpha
    )
    lora.down.stop_gradient = lora.up.stop_gradient = False
    return lora


def get_adapters(network: nn.Layer) -> dict[str, dict[str, Delta]]:
    """Return the deltas of each adapter by path of their layer."""
    found: dict[str, dict[str, Delta]] = {}
    for path, layer in network.named_sublayers(include_self=True):
        if isinstance(layer, AdapterLayer):
            for name, delta in layer.adapters.items():
                found.setdefault(name, {})[path] = delta
    return found


def eject(network: nn.Layer, name: str | None = None, keep_fused: bool = False) -> None:
    """Remove one adapter, or all. A layer without adapters is exactly the original layer again.

    Args:
        keep_fused: keep fused adapters in the weights, permanently; otherwise the layers are unfused first.

    Raises:
        InputError: the network has no adapter of this name.
    """
    if name is not None:
        check_names(network, [name])
    for layer in adapter_layers(network):
        if keep_fused:
            layer.keep_fused()
        for each in list(layer.adapters) if name is None else [name]:
            if each in layer.adapter_weights:
                remove_delta(layer, each)


def set_adapters(
    network: nn.Layer, names: str | Sequence[str], weights: Weight | Sequence[Weight | None] | None = None
) -> None:
    """Activate these adapters and deactivate all others. The order of the names is significant for DoRA only.

    Args:
        weights: one for all adapters, or one for each; None is 1.

    Raises:
        InputError: an adapter is unknown, or the numbers of names and weights differ.
    """
    names = [names] if isinstance(names, str) else list(names)
    shared = weights is None or isinstance(weights, (int, float, Mapping))
    weights = [weights] * len(names) if shared else list(weights)
    if len(names) != len(weights):
        raise InputError(f"There are {len(weights)} weights for {len(names)} adapters.", expected="one for each")
    check_names(network, names)
    chosen = dict(zip(names, weights))
    if any(layer.fused_adapters for layer in adapter_layers(network)):
        logger.warning("Adapters are fused into the weights: new weights have no effect until they are unfused.")
    for path, layer in network.named_sublayers(include_self=True):
        if isinstance(layer, AdapterLayer):
            set_weights(layer, {name: _weight_in(chosen, name, path) for name in layer.adapters}, names)


def _weight_in(chosen: Mapping[str, Weight | None], name: str, path: str) -> float | None:
    if name not in chosen:
        return None
    weight = chosen[name]
    weight = weight.get(path, 1.0) if isinstance(weight, Mapping) else weight
    return 1.0 if weight is None else float(weight)


def active_adapters(network: nn.Layer) -> list[str]:
    """Return the names of the adapters that are active in some layer."""
    active: dict[str, bool] = {}
    for layer in adapter_layers(network):
        for name, weight in layer.adapter_weights.items():
            active[name] = active.get(name, False) or weight is not None
    return [name for name, some in active.items() if some]


def fused_adapters(network: nn.Layer) -> set[str]:
    """Return the names of the adapters that are part of the weights, and that `unfuse` removes from them."""
    return {name for layer in adapter_layers(network) for name in layer.fused_adapters}


def delete_adapters(network: nn.Layer, names: Sequence[str]) -> None:
    """Remove those of these adapters that the network has. If no active one is left, the first one becomes active.

    As in PEFT, fused ones stay in the weights.
    """
    own, fused = list(get_adapters(network)), fused_adapters(network)
    for name in names:
        if name in own:
            eject(network, name, keep_fused=name in fused)
    left = [name for name in own if name not in names]
    if left and len(left) < len(own) and not active_adapters(network):
        set_adapters(network, left[0])


def enable_adapters(network: nn.Layer) -> None:
    """Add deltas again after `disable_adapters`."""
    for layer in adapter_layers(network):
        layer.adapters_enabled = True


def disable_adapters(network: nn.Layer) -> None:
    """Compute without adapters, which stay injected; fused ones are unfused."""
    unfuse(network)
    for layer in adapter_layers(network):
        layer.adapters_enabled = False


def fuse(network: nn.Layer, names: Sequence[str] | None = None, scale: float = 1.0) -> None:
    """Add deltas to the network's weights, for calls as fast as without adapters. Other adapters have no effect then.

    The original weights of these layers are kept in CPU memory until `unfuse`.

    Args:
        names: default: the active adapters.
        scale: multiplies the weights of the adapters.

    Raises:
        InputError: an adapter is unknown, or has biases for layers without bias.
    """
    check_names(network, names or [])
    fused = fused_adapters(network)
    if fused:
        logger.warning("Adapters that are already fused are not fused again: %s.", ", ".join(sorted(fused)))
    chosen: list[tuple[AdapterLayer, dict[str, float]]] = []
    problems = []
    for path, layer in network.named_sublayers(include_self=True):
        if isinstance(layer, AdapterLayer):
            order = list(layer.adapters) if names is None else [name for name in names if name in layer.adapters]
            weights = {name: layer.adapter_weights[name] for name in order if name not in fused}
            scales = {name: weight * scale for name, weight in weights.items() if weight is not None}
            biased = [name for name in scales if layer.adapters[name].has_bias]
            if biased and layer.bias is None:
                problems.append(f"{path}: {', '.join(biased)}")
            if scales:
                chosen.append((layer, scales))
    if problems:
        raise InputError(
            "Adapters with biases cannot be fused into layers without bias; nothing was fused.", problems=problems
        )
    for layer, scales in chosen:
        layer.fuse(scales)


def check_finite(networks: Mapping[str, nn.Layer], names: Sequence[str] | None = None) -> None:
    """Raise if adapters of these networks have values that are not finite.

    Args:
        names: by default all adapters.

    Raises:
        InputError: lists the layers.
    """
    problems = [
        f"{component}.{path}: {name}"
        for component, network in networks.items()
        for name, deltas in get_adapters(network).items()
        if names is None or name in names
        for path, delta in deltas.items()
        if not all(bool(paddle.isfinite(tensor.astype("float32")).all()) for tensor in delta.buffers())
    ]
    if problems:
        raise InputError("Adapters have values that are not finite; nothing was fused.", problems=problems)


def unfuse(network: nn.Layer) -> None:
    """Restore the exact weights from before `fuse`."""
    for layer in adapter_layers(network):
        layer.unfuse()


def check_names(network: nn.Layer, names: Sequence[str]) -> None:
    """Raise an error that lists the adapters that the network does not have."""
    known = {name for layer in adapter_layers(network) for name in layer.adapters}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(
            f"{type(network).__name__} does not have these adapters.",
            problems=unknown,
            expected=f"of {', '.join(sorted(known))}" if known else "inject an adapter first",
        )
