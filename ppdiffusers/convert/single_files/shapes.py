"""The blocks of a UNet or ControlNet, from names and shapes in a file: distilled models have fewer of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppdiffusers.convert.single_files.layouts import Layout, Tensors
from ppdiffusers.convert.single_files.published import Family

# Transformer layers after each residual block of a block; 0 without attention
Depths = tuple[int, ...]

_WIDTHS, _LAYERS = (320, 640, 1280, 1280), 2  # the defaults of UNet2DConditionModel and ControlNetModel
_PER_LEVEL = ("attention_head_dim", "only_cross_attention")
_MIDDLE = {None: None, 0: "UNetMidBlock2D"}
_ORIGINAL = re.compile(r"(input|output)_blocks\.(\d+)\.\d+\.(.+)")
_DIFFUSERS = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)")
_DEPTH = re.compile(r"transformer_blocks\.(\d+)\.")
_SECOND_RESNET = ("middle_block.2.", "mid_block.resnets.1.")
_INCOMPLETE = -1  # a middle block with two residual blocks has attention between them
_RESAMPLERS = {"input": "op.weight", "output": "conv.weight"}


@dataclass(frozen=True)
class Blocks:
    """The blocks of a network.

    Attributes:
        widths: channels of each level.
        down, up: the blocks in their order; `up` is empty in a ControlNet.
        middle: transformer layers of the middle block, 0 without attention; None without the block.
    """

    widths: tuple[int, ...]
    down: tuple[Depths, ...]
    up: tuple[Depths, ...]
    middle: int | None


def fitted(family: Family, component: str, layout: Layout, tensors: Tensors) -> Family:
    """Return the family with as many blocks and layers as the file has; unchanged if the file is incomplete."""
    _, config = family.components[component]
    names = {name[len(layout.prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(layout.prefix)}
    found = _blocks_in(names)
    if found == _blocks_of(config, has_up_blocks="up_block_types" in config or component == "unet"):
        return family
    changes = _configuration(found, config)
    return family if changes is None else family.with_settings(component, **changes)


# -- of a configuration -----------------------------------------------------------------------------------------------


def _blocks_of(config: Mapping[str, Any], has_up_blocks: bool) -> Blocks:
    widths = tuple(config.get("block_out_channels", _WIDTHS))
    levels = len(widths)
    types = config.get("down_block_types", ["CrossAttnDownBlock2D"] * (levels - 1) + ["DownBlock2D"])
    depths = _per_level(config.get("transformer_layers_per_block", 1), levels)
    layers = config.get("layers_per_block", _LAYERS)
    used = [depth if "CrossAttn" in name else 0 for name, depth in zip(types, depths)]
    down = tuple((depth,) * layers for depth in used)
    up = tuple((depth,) * (layers + 1) for depth in reversed(used)) if has_up_blocks else ()
    return Blocks(widths, down, up, depths[-1])


def _per_level(value: Any, levels: int) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value] * levels


# -- of a file --------------------------------------------------------------------------------------------------------


def _blocks_in(tensors: Tensors) -> Blocks:
    is_original = any(name.startswith("input_blocks.") for name in tensors)
    widths, sides = (_original_blocks if is_original else _diffusers_blocks)(tensors)
    return Blocks(widths, sides[0], sides[1], _middle(tensors))


def _original_blocks(tensors: Tensors) -> tuple[tuple[int, ...], list[tuple[Depths, ...]]]:
    """Return widths, down and up blocks; in the original, they are flat lists, and resamplers end a level."""
    entries: dict[str, dict[int, dict[str, int]]] = {"input": {}, "output": {}}
    for name, tensor in tensors.items():
        found = _ORIGINAL.fullmatch(name)
        if found is None:
            continue
        side, number, rest = found[1], int(found[2]), found[3]
        entry = entries[side].setdefault(number, {})
        if rest == _RESAMPLERS[side]:
            entry["resampler"] = 1
        elif rest == "out_layers.3.weight":
            entry["width"] = tensor.shape[0]
        elif depth := _DEPTH.match(rest):
            entry["depth"] = max(entry.get("depth", 0), int(depth[1]) + 1)
    widths: list[int] = []
    sides = []
    for side in entries.values():
        blocks: list[list[int]] = [[]]
        for _, entry in sorted(side.items()):
            if "width" in entry:
                widths += [entry["width"]] if side is entries["input"] and not blocks[-1] else []
                blocks[-1].append(entry.get("depth", 0))
            if "resampler" in entry:
                blocks.append([])
        sides.append(tuple(tuple(block) for block in blocks if block))
    return tuple(widths), sides


def _diffusers_blocks(tensors: Tensors) -> tuple[tuple[int, ...], list[tuple[Depths, ...]]]:
    depths: dict[str, dict[int, dict[int, int]]] = {"down": {}, "up": {}}
    widths: dict[int, int] = {}
    for name, tensor in tensors.items():
        found = _DIFFUSERS.fullmatch(name)
        if found is None:
            continue
        side, block, number, rest = found[1], int(found[2]), int(found[4]), found[5]
        depth = _DEPTH.match(rest)
        layers = depths[side].setdefault(block, {})
        layers[number] = max(layers.get(number, 0), int(depth[1]) + 1 if depth else 0)
        if side == "down" and rest == "conv2.weight":
            widths[block] = tensor.shape[0]
    sides = [
        tuple(tuple(depth for _, depth in sorted(layers.items())) for _, layers in sorted(side.items()))
        for side in depths.values()
    ]
    return tuple(width for _, width in sorted(widths.items())), sides


def _middle(tensors: Tensors) -> int | None:
    names = [name for name in tensors if name.startswith(("middle_block.", "mid_block."))]
    found = [int(depth[1]) + 1 for name in names if (depth := _DEPTH.search(name))]
    if not found and any(name.startswith(_SECOND_RESNET) for name in names):
        return _INCOMPLETE
    return max(found, default=0) if names else None


# -- a configuration with these blocks --------------------------------------------------------------------------------


def _configuration(blocks: Blocks, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the changes of a configuration; None if no configuration describes these blocks."""
    levels = len(blocks.down)
    layers = [len(block) for block in blocks.down]
    if (
        blocks.middle == _INCOMPLETE
        or levels != len(blocks.widths)
        or not levels
        or blocks.up
        and not _mirrored(layers, blocks.up)
    ):
        return None
    depths, up_depths = ([_depth(block, blocks.middle or 1) for block in side] for side in (blocks.down, blocks.up))
    if None in depths + up_depths or blocks.middle not in (None, 0, depths[-1]):
        return None
    changes: dict[str, Any] = {
        "block_out_channels": list(blocks.widths),
        "layers_per_block": layers[0] if len(set(layers)) == 1 else layers,
        "down_block_types": ["CrossAttnDownBlock2D" if any(block) else "DownBlock2D" for block in blocks.down],
        "mid_block_type": _MIDDLE.get(blocks.middle, "UNetMidBlock2DCrossAttn"),
        "transformer_layers_per_block": depths,
    }
    if blocks.up:
        changes["up_block_types"] = ["CrossAttnUpBlock2D" if any(block) else "UpBlock2D" for block in blocks.up]
        if up_depths != depths[::-1] or any(isinstance(depth, list) for depth in depths):
            changes["reverse_transformer_layers_per_block"] = up_depths
    for key in _PER_LEVEL:
        value = config.get(key)
        if isinstance(value, (list, tuple)):
            if len(value) < levels:
                return None
            changes[key] = list(value[:levels])
    return changes


def _mirrored(layers: Sequence[int], up: Sequence[Depths]) -> bool:
    """Return whether each up block has one layer more than the down block of its level."""
    return [len(block) for block in up] == [count + 1 for count in reversed(layers)]


def _depth(block: Depths, default: int) -> int | list[int] | None:
    """Return transformer layers as configurations have them: one number, or a list; None if some layers have none."""
    if not any(block):
        return default
    if not all(block):
        return None
    return block[0] if len(set(block)) == 1 else list(block)
