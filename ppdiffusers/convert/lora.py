"""Parse files with LoRA and LyCORIS adapters: tensor names of PEFT, diffusers and Kohya to layers of our networks.

| written by | name |
|---|---|
| PEFT, diffusers | `unet.mid_block.attentions.0.proj_in.lora_A.weight` |
| diffusers 0.17 to 0.21 | `text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight` |
| old attention processors | `mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight` |
| Kohya, LyCORIS | `lora_unet_mid_block_attentions_0_proj_in.lora_down.weight`, and `.alpha` |
| Kohya for SDXL | `lora_unet_middle_block_1_proj_in.lora_down.weight`, `lora_te2_text_model_...` |
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppdiffusers.convert.names.sgm_unet import sgm_paths
from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.tensors import LazyTensor

METADATA_KEY = "lora_adapter_metadata"  # PEFT's configuration, in the metadata of files that diffusers saves

# End of a tensor's name -> part of the adapter. Longer ends come before their own ends.
_PARTS = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_mid.weight": "mid",
    ".lora_B.bias": "bias",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".dora_scale": "dora_scale",
    ".alpha": "alpha",
    ".diff": "diff",
    ".diff_b": "diff_b",
    ".w_norm": "w_norm",
    ".b_norm": "b_norm",
    **{f".hada_{name}": f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")},
    **{f".lokr_{name}": f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")},
}
# End of a tensor's name -> kind of adapter that is not supported.
_UNSUPPORTED = {
    ".a1.weight": "GLoRA",
    ".on_input": "(IA)^3",
    ".oft_blocks": "OFT or BOFT",
    ".oft_diag": "OFT",
    ".lambda_layer": "T-LoRA",
}
# PEFT writes the name of the adapter into the names of its state dict: "to_q.lora_A.default.weight".
_ADAPTER_NAME = re.compile(r"(\.lora_[AB]|\.lora_magnitude_vector)\.[^.]+(\.weight|\.bias)$")
# Start of Kohya's names, in which underscores replace the dots of a path -> component.
_KOHYA_PREFIXES = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lycoris_": "unet",
}
# Parts of names of blocks: SGM's (Kohya's files for SDXL), and ours.
_SGM_BLOCKS = ("input_blocks", "middle_block", "output_blocks")
_OUR_BLOCKS = ("down_blocks", "mid_block", "up_blocks")
# Last parts of paths in old files -> those of our layers; the first one that exists is used.
_OLD_NAMES = {
    "to_q": ("q_proj",),
    "to_k": ("k_proj",),
    "to_v": ("v_proj",),
    "to_out": ("to_out.0", "out_proj"),
}


@dataclass(frozen=True)
class LayerAdapter:
    """The tensors of an adapter for one layer.

    Attributes:
        parts: name, such as "down" and "up" -> tensor, in PyTorch's layout.
        alpha: the adapter is scaled by alpha / rank; None if the file does not say.
    """

    parts: dict[str, LazyTensor] = field(default_factory=dict)
    alpha: float | None = None


@dataclass(frozen=True)
class AdapterFile:
    """A parsed file.

    Attributes:
        layers: component -> path of a layer -> its adapter.
        unmatched: names of tensors for layers that the networks do not have.
    """

    layers: dict[str, dict[str, LayerAdapter]]
    unmatched: list[str]


def parse_adapter(
    tensors: Mapping[str, LazyTensor],
    metadata: Mapping[str, str],
    paths: Mapping[str, Collection[str]],
    where: object = None,
) -> AdapterFile:
    """Assign the tensors of a file to layers.

    Args:
        metadata: of a safetensors file; PEFT's configuration in it defines alpha.
        paths: component, such as "unet" -> paths of its layers.
        where: the file, for messages.

    Raises:
        WeightsError: names of an unknown form, or two tensors for the same part of a layer; all are listed.
    """
    names = _LayerNames(paths)
    # as diffusers does, prefer our names of blocks where a file has both
    ignored = _SGM_BLOCKS if any(block in key for key in tensors for block in _OUR_BLOCKS) else ()
    found: dict[str, dict[str, dict[str, LazyTensor]]] = {}
    unmatched, problems = [], []
    for key, tensor in tensors.items():
        split = split_name(key)
        if split is None:
            problems.append(key)
            continue
        stem, part = split
        place = None if any(block in stem for block in ignored) else names.locate(stem)
        if place is None:
            unmatched.append(key)
            continue
        component, path = place
        parts = found.setdefault(component, {}).setdefault(path, {})
        if part in parts:
            problems.append(f"{key}: a second tensor for {part!r} of {component}.{path}")
        parts[part] = tensor
    if problems:
        kinds = {kind for end, kind in _UNSUPPORTED.items() if any(key.endswith(end) for key in tensors)}
        raise WeightsError(
            f"The file has adapters of an unsupported kind: {', '.join(sorted(kinds))}."
            if kinds
            else "The file has tensors that do not belong to a LoRA of a known format.",
            where=where,
            problems=problems,
            expected="names of PEFT, diffusers, Kohya or LyCORIS: LoRA, LoCon, LoHa, LoKr, full, norm or DoRA",
        )
    config = adapter_config(metadata, where)
    layers = {component: _with_alphas(component, found[component], config) for component in found}
    return AdapterFile(layers, unmatched)


def split_name(key: str) -> tuple[str, str] | None:
    """Split a tensor's name into the name of its layer and the part; None for an unknown form."""
    key = _ADAPTER_NAME.sub(r"\1\2", key)
    return next(((key.removesuffix(end), part) for end, part in _PARTS.items() if key.endswith(end)), None)


def component_of_kohya(name: str) -> str | None:
    """Return the component of a tensor with a name of Kohya's; None for other names."""
    return next((component for prefix, component in _KOHYA_PREFIXES.items() if name.startswith(prefix)), None)


class _LayerNames:
    """The layers of the networks by the names that files have for them."""

    def __init__(self, paths: Mapping[str, Collection[str]]):
        self.paths = {component: set(some) for component, some in paths.items()}
        self.flat = {component: {path.replace(".", "_"): path for path in some} for component, some in paths.items()}
        sgm = sgm_paths(paths.get("unet", ()))
        self.flat.get("unet", {}).update({name.replace(".", "_"): path for name, path in sgm.items()})

    def locate(self, stem: str) -> tuple[str, str] | None:
        """Return component and path of the layer, or None if no network has it."""
        for prefix, component in _KOHYA_PREFIXES.items():
            if stem.startswith(prefix):
                path = self.flat.get(component, {}).get(stem.removeprefix(prefix))
                return None if path is None else (component, path)
        stem = stem.removeprefix("base_model.model.")
        component, _, rest = stem.partition(".")
        known = component in self.paths
        candidates = [component] if known else list(self.paths)  # attention processors are saved without a prefix
        for component in candidates:
            for path in _spellings(rest if known else stem):
                if path in self.paths[component]:
                    return component, path
        return None


def _spellings(path: str) -> Iterator[str]:
    """Yield the paths that a path in a file may stand for."""
    path = path.replace(".processor.", ".")
    yield path
    parent, _, last = path.rpartition(".")
    yield from (f"{parent}.{name}" for name in _OLD_NAMES.get(last, ()))


# -- alpha --------------------------------------------------------------------------------------------------------


def adapter_config(metadata: Mapping[str, str], where: object) -> dict[str, Any]:
    """Return PEFT's configuration in the metadata of a file; empty if there is none."""
    try:
        config = json.loads(metadata.get(METADATA_KEY, "{}"))
    except ValueError as error:
        raise WeightsError(f"The metadata {METADATA_KEY!r} is not JSON.", where=where) from error
    if not isinstance(config, dict):
        raise WeightsError(f"The metadata {METADATA_KEY!r} is not a JSON object.", where=where)
    return config


def _with_alphas(
    component: str, layers: Mapping[str, dict[str, LazyTensor]], config: Mapping[str, Any]
) -> dict[str, LayerAdapter]:
    prefix = f"{component}."
    config = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)} or config
    stored = any("alpha" in parts for parts in layers.values())
    # without alphas diffusers uses the rank of the first layer for all of them
    default = next((parts["down"].shape[0] for parts in layers.values() if "down" in parts), None)
    adapters = {}
    for path, parts in layers.items():
        tensor = parts.pop("alpha", None)
        alpha: float | None = None
        if tensor is not None:
            alpha = float(tensor.astype("float32").read().reshape(-1)[0])
        elif "lora_alpha" in config and "down" in parts:
            alpha = _alpha_of_config(config, path, parts["down"].shape[0])
        elif "down" in parts and not stored:
            alpha = default
        adapters[path] = LayerAdapter(parts, alpha)
    return adapters


def alpha_in_config(config: Mapping[str, Any]) -> set[float]:
    """Return all alphas in a configuration of one or several components."""
    found = {float(value) for key, value in config.items() if key.rpartition(".")[2] == "lora_alpha" and value}
    patterns = (value for key, value in config.items() if key.rpartition(".")[2] == "alpha_pattern" and value)
    return found.union(*(map(float, pattern.values()) for pattern in patterns))


def _alpha_of_config(config: Mapping[str, Any], path: str, rank: int) -> float:
    """Return alpha of a layer in PEFT's configuration, in which patterns override the default."""
    patterns = config.get("alpha_pattern") or {}
    matching = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", path))
    alpha = float(next(matching, config["lora_alpha"]))
    return scaled_alpha(alpha, rank, bool(config.get("use_rslora")))


def scaled_alpha(alpha: float, rank: int, rank_stabilized: bool) -> float:
    """Return the number that divided by the rank is the scale: of rank-stabilized LoRA alpha / sqrt(rank)."""
    return alpha * math.sqrt(rank) if rank_stabilized else alpha
