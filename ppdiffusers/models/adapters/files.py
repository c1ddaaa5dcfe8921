"""LoRA files: from the tensors of a file to adapters of networks, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.convert.lora import METADATA_KEY, LayerAdapter, component_of_kohya, parse_adapter, split_name
from ppdiffusers.core.errors import InputError, WeightsError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.weights import Checkpoint, write_safetensors
from ppdiffusers.models.adapters import (
    Delta,
    DoRA,
    LoRA,
    delta_from_tensors,
    eject,
    fused_adapters,
    get_adapters,
    inject,
    replace,
    set_adapters,
    unfuse,
)
from ppdiffusers.models.adapters.names import unused_name
from ppdiffusers.utils.lazy_tensors import as_lazy_tensor
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

LORA_WEIGHT_NAME = "pytorch_lora_weights.bin"
LORA_WEIGHT_NAME_SAFE = "pytorch_lora_weights.safetensors"
LORA_WEIGHT_NAMES = (LORA_WEIGHT_NAME_SAFE, LORA_WEIGHT_NAME)  # in order of preference

Deltas = dict[str, dict[str, Delta]]  # component -> path of a layer -> delta


def selected(
    checkpoint: Checkpoint,
    prefix: str | None,
    network_alphas: Mapping[str, float] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Return the tensors of one component.

    Args:
        prefix: the component; None for all.
        network_alphas: layer -> alpha, for files that were read by `lora_state_dict` of diffusers.
        metadata: PEFT's configuration instead of that of the file.
    """
    if network_alphas and metadata:
        raise InputError("`network_alphas` and `metadata` both define alpha.", expected="one of them")
    tensors = dict(checkpoint)
    for name, alpha in (network_alphas or {}).items():
        layer = name.removesuffix(".alpha")  # or the name of its "down"
        layer = layer if (split := split_name(layer)) is None else split[0]
        tensors[f"{layer}.alpha"] = as_lazy_tensor(name, np.asarray(alpha, "float32"))
    if prefix is not None:
        tensors = {name: tensor for name, tensor in tensors.items() if _is_of(name, prefix)}
    header = checkpoint.metadata if metadata is None else {METADATA_KEY: json.dumps(metadata, default=list)}
    return Checkpoint(tensors, checkpoint.framework, checkpoint.files, header)


def _is_of(name: str, component: str) -> bool:
    return name.startswith(f"{component}.") or component_of_kohya(name) == component


def load_adapter(
    networks: Mapping[str, nn.Layer],
    checkpoint: Checkpoint,
    name: str | None,
    hotswap: bool = False,
    target_rank: int | None = None,
) -> None:
    """Load an adapter into networks, and make it the active one.

    Args:
        networks: component -> network.
        name: by default "default_0", "default_1", ...
        hotswap: replace the adapter of this name.
        target_rank: pad LoRA matrices to this rank.

    Raises:
        WeightsError: the file is not a LoRA for these networks; all of its problems are listed.
        InputError: the name is in use, or shapes do not fit; nothing is changed.
    """
    known = {name for network in networks.values() for name in get_adapters(network)}
    if hotswap and name not in known:
        raise InputError(
            f"There is no adapter {name!r} to replace.",
            expected=f"one of {', '.join(sorted(known))}" if known else "load an adapter with hotswap=False first",
        )
    if not hotswap and name in known:
        raise InputError(f"The adapter {name!r} already exists.", remedy="choose another `adapter_name`.")
    deltas = read_deltas(networks, checkpoint)
    if target_rank is not None:
        deltas = padded(deltas, target_rank, hotswap)
    if name is None:
        inject_all(networks, unused_name(known), deltas)
    elif hotswap:
        replace_all(networks, name, deltas)
    else:
        inject_all(networks, name, deltas)


def read_deltas(networks: Mapping[str, nn.Layer], checkpoint: Checkpoint) -> Deltas:
    """Create the deltas of a file for these networks.

    Raises:
        WeightsError: the file has tensors of an unknown form, or none that fits a network; all names are listed.
    """
    where = checkpoint.files[0] if checkpoint.files else None
    layers = {
        name: {path: layer for path, layer in network.named_sublayers() if hasattr(layer, "weight")}
        for name, network in networks.items()
    }
    parsed = parse_adapter(checkpoint, checkpoint.metadata, layers, where)
    if not parsed.layers:
        raise WeightsError(
            "The file has no LoRA for these networks.",
            where=where,
            problems=parsed.unmatched or ["it has no tensors"],
            expected=f"names of layers of {', '.join(networks)}",
            remedy="check that the LoRA was trained for this kind of model (SD 1.x, SD 2.x, SDXL).",
        )
    if parsed.unmatched:
        logger.warning("These LoRA tensors are for layers that the networks do not have: %s", _list(parsed.unmatched))
    for component in networks.keys() - parsed.layers.keys():
        logger.warning("The LoRA file has no layers of %s.", component)
    deltas: Deltas = {}
    problems = []
    for component, adapters in parsed.layers.items():
        for path, adapter in adapters.items():
            try:
                deltas.setdefault(component, {})[path] = _delta(adapter, layers[component][path])
            except InputError as error:
                problems.append(f"{component}.{path}: {error.what}")
    if problems:
        raise WeightsError("The file has incomplete or invalid adapters.", where=where, problems=problems)
    return deltas


def padded(deltas: Deltas, rank: int, allow_larger: bool = False) -> Deltas:
    """Pad LoRA matrices with zeros to this rank.

    Args:
        allow_larger: keep matrices of a larger rank, with a warning.

    Raises:
        InputError: matrices of a larger rank.
    """
    larger = [
        f"{component}.{path}: rank {found}"
        for component, some in deltas.items()
        for path, delta in some.items()
        if (found := delta.rank or 0) > rank
    ]
    if larger and not allow_larger:
        raise InputError(
            f"The adapter has layers of a rank above the target rank {rank}; nothing was changed.",
            problems=larger,
            remedy="pass a larger `target_rank` to `enable_lora_hotswap` before the first adapter is loaded.",
        )
    if larger:
        logger.warning("The adapter has a rank above the target rank %d: compiled networks are compiled again.", rank)
    return {c: {path: delta.padded(rank) for path, delta in some.items()} for c, some in deltas.items()}


def pad_adapters(networks: Mapping[str, nn.Layer], rank: int, check_compiled: str) -> None:
    """Pad the LoRA matrices of loaded adapters.

    Args:
        check_compiled: what to do if there are any: "error", "warn" or "ignore".

    Raises:
        InputError: adapters are loaded, or have a larger rank.
    """
    loaded = {component: get_adapters(network) for component, network in networks.items()}
    if not any(loaded.values()):
        return
    if check_compiled not in ("error", "warn", "ignore"):
        raise InputError(f"check_compiled is {check_compiled!r}.", expected="'error', 'warn' or 'ignore'")
    message = "Adapters are loaded: call `enable_lora_hotswap` before the first one is loaded"
    if check_compiled == "error":
        raise InputError(f"{message}.", remedy="pass check_compiled='warn' or 'ignore'.")
    if check_compiled == "warn":
        logger.warning("%s, so that compiled networks are not compiled again.", message)
    for name in {name for adapters in loaded.values() for name in adapters}:
        deltas = {component: adapters.get(name, {}) for component, adapters in loaded.items()}
        for component, some in padded(deltas, rank).items():
            for path, delta in some.items():
                networks[component].get_sublayer(path).adapters[name] = delta


def _delta(adapter: LayerAdapter, layer: nn.Layer) -> Delta:
    parts = {name: paddle.to_tensor(tensor.astype("float32").read()) for name, tensor in adapter.parts.items()}
    return delta_from_tensors(parts, adapter.alpha, layer)


def _list(names: list[str], limit: int = 20) -> str:
    more = f", and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def inject_all(networks: Mapping[str, nn.Layer], name: str, deltas: Deltas) -> None:
    """Inject an adapter into several networks and make it the active one there; after an error none has it.

    As in PEFT, adapters that are fused into these networks are unfused.
    """
    done: list[nn.Layer] = []
    try:
        for component, some in deltas.items():
            inject(networks[component], name, some, weight=None)
            done.append(networks[component])
    except InputError:
        for network in done:
            eject(network, name)
        raise
    for network in done:
        fused = fused_adapters(network)
        if fused:
            logger.warning(
                "The adapters %s are no longer fused, because another one is loaded. Call `unload_lora_weights` after "
                "`fuse_lora` to keep them in the weights.",
                ", ".join(sorted(fused)),
            )
            unfuse(network)
        set_adapters(network, name)


def replace_all(networks: Mapping[str, nn.Layer], name: str, deltas: Deltas) -> None:
    """Replace an adapter by another one; where the new one has no layers, the old one is removed."""
    has = [component for component, network in networks.items() if name in get_adapters(network)]
    for component, some in deltas.items():
        if component in has:
            replace(networks[component], name, some)
        else:
            inject(networks[component], name, some)
    for component in has:
        if component not in deltas:
            eject(networks[component], name)


# -- saving -------------------------------------------------------------------------------------------------------


def write_lora(
    folder: Path,
    layers: Mapping[str, Mapping[str, Any] | None],
    metadata: Mapping[str, Mapping[str, Any] | None],
    weight_name: str | None = None,
    save_function: Callable[[dict[str, Any], str], None] | None = None,
) -> None:
    """Write a LoRA file that diffusers loads.

    Args:
        layers: component -> either PEFT's state dict (name -> tensor), or path -> `LoRA`, or `DoRA` of one, as
            `get_adapters` returns it.
        metadata: component -> PEFT's configuration; by default that of the given layers.
        save_function: called as `f({name: array}, path)` instead of writing safetensors.

    Raises:
        InputError: no layers, or layers that are neither.
    """
    given = {component: some for component, some in layers.items() if some}
    if not given:
        raise InputError("There are no LoRA layers to save.", expected="unet_lora_layers or text_encoder_lora_layers")
    tensors: dict[str, LazyTensor] = {}
    config: dict[str, Any] = {}
    for component, some in given.items():
        deltas = {path: delta for path, delta in some.items() if isinstance(delta, Delta)}
        others = [path for path in some if path not in deltas or not _in_peft(deltas[path])]
        if deltas and others:
            raise InputError(
                f"These layers of {component} are not LoRA.", problems=others, expected="LoRA deltas, or tensors"
            )
        named = _state_dict(deltas) if deltas else some
        tensors |= {f"{component}.{name}": as_lazy_tensor(name, tensor) for name, tensor in named.items()}
        own = metadata.get(component) or (_peft_config(deltas) if deltas else {})
        config |= {f"{component}.{key}": value for key, value in own.items()}
    _write(folder, tensors, config, weight_name, save_function)


def write_network_lora(
    folder: Path,
    deltas: Mapping[str, Delta],
    weight_name: str | None = None,
    upcast: bool = False,
    save_function: Callable[[dict[str, Any], str], None] | None = None,
) -> None:
    """Write the LoRA of one network, with names without a component.

    Args:
        upcast: write float32.
    """
    others = [path for path, delta in deltas.items() if not _in_peft(delta)]
    if others:
        raise InputError("These layers are not LoRA.", problems=others, expected="LoRA, or DoRA of one")
    tensors = {name: as_lazy_tensor(name, tensor) for name, tensor in _state_dict(deltas).items()}
    if upcast:
        tensors = {name: tensor.astype("float32") for name, tensor in tensors.items()}
    _write(folder, tensors, _peft_config(deltas), weight_name, save_function)


def _write(
    folder: Path,
    tensors: dict[str, LazyTensor],
    config: Mapping[str, Any],
    weight_name: str | None,
    save_function: Callable[[dict[str, Any], str], None] | None,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (weight_name or LORA_WEIGHT_NAME_SAFE)
    if save_function is not None:
        save_function({name: tensor.read() for name, tensor in tensors.items()}, str(path))
        return
    header = {"format": "pt"}
    if config:
        header[METADATA_KEY] = json.dumps(config, indent=2, sort_keys=True, default=list)
    write_safetensors(path, tensors, header)


def _in_peft(delta: Delta) -> bool:
    """Return whether PEFT has this kind of adapter."""
    return (
        isinstance(delta.inner, LoRA) and delta.axis == "output" if isinstance(delta, DoRA) else isinstance(delta, LoRA)
    )


def _state_dict(deltas: Mapping[str, Delta]) -> dict[str, paddle.Tensor]:
    named = {}
    for path, delta in deltas.items():
        if isinstance(delta, DoRA):
            magnitude = delta.named()["magnitude"]  # [out]; [1, out, 1, 1] in PEFT's convolutions
            linear = _lora_of(delta).down.ndim == 2
            named[f"{path}.lora_magnitude_vector"] = magnitude if linear else magnitude.reshape([1, -1, 1, 1])
        lora = _lora_of(delta)
        named[f"{path}.lora_A.weight"], named[f"{path}.lora_B.weight"] = lora.down, lora.up
        if lora.has_bias:
            named[f"{path}.lora_B.bias"] = lora.named()["bias"]
    return named


def _lora_of(delta: Delta) -> LoRA:
    lora = delta.inner if isinstance(delta, DoRA) else delta
    assert isinstance(lora, LoRA)
    return lora


def _peft_config(deltas: Mapping[str, Delta]) -> dict[str, Any]:
    """PEFT's configuration: rank and alpha of the first layer, and patterns for layers with others."""
    loras = {path: _lora_of(delta) for path, delta in deltas.items()}
    first = next(iter(loras.values()))
    ranks = {f"^{path}": lora.rank for path, lora in loras.items() if lora.rank != first.rank}
    alphas = {f"^{path}": lora.alpha for path, lora in loras.items() if lora.alpha != first.alpha}
    return {
        "r": first.rank,
        "lora_alpha": first.alpha,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "target_modules": list(deltas),
        "use_dora": any(isinstance(delta, DoRA) for delta in deltas.values()),
        "lora_bias": any(lora.has_bias for lora in loras.values()),
    }
