"""Describe a LoRA file without a network: its format, kinds of adapters, components, ranks and alphas."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ppdiffusers.convert.lora import adapter_config, alpha_in_config, split_name
from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.tensors import LazyTensor

# Part of a tensor's name -> format; the first that some name contains. Kohya's names are also those of LyCORIS.
_FORMATS = {
    ".lora_A": "PEFT",
    ".lora_linear_layer.": "diffusers",
    ".processor.": "attention processors",
    "_lora.down": "attention processors",
    ".lora.down": "diffusers",
    "lycoris_": "LyCORIS",
    "lora_": "Kohya",
}
# Part of an adapter -> kind of adapter.
_KINDS = {
    "down": "LoRA",
    "mid": "LoCon",
    "hada_w1_a": "LoHa",
    "lokr_w1": "LoKr",
    "lokr_w1_a": "LoKr",
    "diff": "full",
    "w_norm": "norm",
    "magnitude": "DoRA",
    "dora_scale": "DoRA",
}
# Start of a layer's name -> component; the first that matches.
_COMPONENTS = {
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te_": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder.": "text_encoder",
    "lora_unet_": "unet",
    "lycoris_": "unet",
    "unet.": "unet",
}
# Width of the embeddings that cross-attention reads -> models with it.
_BASES = {768: "SD 1.x", 1024: "SD 2.x", 1280: "SDXL refiner", 2048: "SDXL"}
_CONTEXT_LAYERS = ("attn2_to_k", "attn2_to_v")


@dataclass(frozen=True)
class LoraInfo:
    """What is known of a LoRA file.

    Attributes:
        format: "PEFT", "diffusers", "attention processors", "Kohya" or "LyCORIS".
        kinds: kinds of adapters: "LoRA", "LoCon" (convolutions or a Tucker core), "LoHa", "LoKr", "full", "norm",
            "DoRA".
        components: name of a component, such as "unet" -> number of its layers.
        ranks: all ranks, sorted; empty for adapters without one.
        alphas: all alphas that the file contains, sorted.
        cross_attention_dim: width of the prompt embeddings; None if the file does not show it.
        base_model: the models with this width, such as "SD 1.x"; None if it is unknown.
    """

    format: str
    kinds: tuple[str, ...]
    components: dict[str, int]
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    cross_attention_dim: int | None
    base_model: str | None


def describe_lora(tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str] | None = None) -> LoraInfo | None:
    """Describe a LoRA or LyCORIS file from the names and shapes of its tensors.

    Only alphas are read.

    Returns:
        None if the tensors are not all those of a LoRA of a known format.
    """
    layers: dict[str, dict[str, LazyTensor]] = {}
    for name, tensor in tensors.items():
        split = split_name(name)
        if split is None:
            return None
        layers.setdefault(split[0], {})[split[1]] = tensor
    kinds = _kinds(layers)
    if not kinds:
        return None
    components: dict[str, int] = {}
    for stem in layers:
        component = next((c for start, c in _COMPONENTS.items() if stem.startswith(start)), "unet")
        components[component] = components.get(component, 0) + 1
    ranks = {rank for parts in layers.values() if (rank := _rank(parts)) is not None}
    width = next((w for stem, parts in layers.items() if (w := _context_width(stem, parts)) is not None), None)
    return LoraInfo(
        _format(tensors),
        kinds,
        components,
        tuple(sorted(ranks)),
        _alphas(layers, metadata or {}),
        width,
        None if width is None else _BASES.get(width),
    )


def _format(names: Collection[str]) -> str:
    return next(form for mark, form in _FORMATS.items() if any(mark in name for name in names))


def _kinds(layers: Mapping[str, Mapping[str, LazyTensor]]) -> tuple[str, ...]:
    found = {_KINDS[part] for parts in layers.values() for part in parts if part in _KINDS}
    kernels = (parts["down"].shape[2:] for parts in layers.values() if "down" in parts)
    if any(size != 1 for kernel in kernels for size in kernel):
        found.add("LoCon")
    return tuple(sorted(found))


def _rank(parts: Mapping[str, LazyTensor]) -> int | None:
    """Return the rank of one layer's adapter, None if it has none."""
    for name in ("down", "hada_w1_b", "lokr_w1_b", "lokr_w2_b"):
        if name in parts:
            return int(parts[name].shape[0])
    return None


def _context_width(stem: str, parts: Mapping[str, LazyTensor]) -> int | None:
    """Return the width of the input of a projection of the prompt embeddings, None for other layers."""
    name = stem.replace(".processor.", ".").replace(".", "_")
    if not name.endswith(_CONTEXT_LAYERS):
        return None
    tensor = next((parts[part] for part in ("down", "hada_w1_b", "diff") if part in parts), None)
    if tensor is not None:
        return int(tensor.shape[1])
    first = parts.get("lokr_w1", parts.get("lokr_w1_b"))
    second = parts.get("lokr_w2", parts.get("lokr_w2_b"))
    return None if first is None or second is None else int(first.shape[1] * second.shape[1])


def _alphas(layers: Mapping[str, Mapping[str, LazyTensor]], metadata: Mapping[str, str]) -> tuple[float, ...]:
    stored = [parts["alpha"] for parts in layers.values() if "alpha" in parts]
    if stored:
        return tuple(sorted({float(alpha.astype("float32").read().reshape(-1)[0]) for alpha in stored}))
    try:
        config = adapter_config(metadata, None)
    except WeightsError:
        return ()
    return tuple(sorted(alpha_in_config(config)))
