"""Weights of an adapter by block of a UNet, as diffusers' `set_adapters` accepts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters.layers import AdapterLayer

BlockScales = Mapping[str, Any]  # {"down": 0.5, "mid": 1.0, "up": {"block_0": 0.3, "block_1": [0.1, 0.2, 0.3]}}


def block_weights(unet: nn.Layer, scales: BlockScales, default: float = 1.0) -> dict[str, float]:
    """Return path of a transformer, such as "down_blocks.1.attentions.0" -> weight.

    Args:
        scales: for "down" and "up" a number, a list with a number for each transformer of a block, or a dictionary
            of blocks with transformers ("block_1") with one of these; for "mid" a number.
        default: weight of missing blocks.

    Raises:
        InputError: unknown blocks, or lists of a wrong length; all of them are listed.
    """
    weights, problems = {}, [f"{key!r} is unknown" for key in scales if key not in ("down", "mid", "up")]
    mid = scales.get("mid", default)
    mid = mid[0] if isinstance(mid, list) and len(mid) == 1 else mid
    if isinstance(mid, (int, float)):
        weights["mid_block.attentions.0"] = float(mid)
    else:
        problems.append(f"'mid' is {mid!r}, not a number")
    for side in ("down", "up"):
        sizes = _transformers(unet, side)
        given = scales.get(side, default)
        by_block = given if isinstance(given, Mapping) else {f"block_{block}": given for block in sizes}
        known = {f"block_{block}" for block in sizes}
        problems += [f"'{side}' has no block {key!r} with transformers" for key in by_block if key not in known]
        for block, size in sizes.items():
            values = by_block.get(f"block_{block}", default)
            values = values if isinstance(values, list) else [values]
            values = values * size if len(values) == 1 else values
            if len(values) != size:
                problems.append(f"'{side}', 'block_{block}' has {len(values)} scales for {size} transformers")
            for n, value in enumerate(values[:size]):
                weights[f"{side}_blocks.{block}.attentions.{n}"] = float(value)
    if problems:
        raise InputError("These weights do not fit the blocks of the UNet.", problems=problems)
    return weights


def layer_weights(network: nn.Layer, weight: float | BlockScales | None) -> float | dict[str, float] | None:
    """Return the weight of an adapter in a network: a number, or numbers by path of the layer.

    Raises:
        InputError: weights of blocks for a network without blocks, or that do not fit its blocks.
    """
    if not isinstance(weight, Mapping):
        return weight
    if not hasattr(network, "down_blocks"):
        raise InputError(
            f"The weight for {type(network).__name__} is a dictionary.", expected="a number; only a UNet has blocks"
        )
    by_block = block_weights(network, weight)
    paths = [path for path, layer in network.named_sublayers() if isinstance(layer, AdapterLayer)]
    inside = {path: ".".join(path.split(".")[: 3 if path.startswith("mid") else 4]) for path in paths}
    return {path: by_block.get(block, 1.0) for path, block in inside.items()}


def _transformers(unet: nn.Layer, side: str) -> dict[int, int]:
    """Return index of a block -> number of its transformers, for blocks that have some."""
    blocks = enumerate(getattr(unet, f"{side}_blocks"))
    sizes = {n: len(getattr(block, "attentions", None) or ()) for n, block in blocks}
    return {n: size for n, size in sizes.items() if size}
