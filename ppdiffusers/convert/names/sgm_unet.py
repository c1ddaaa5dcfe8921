"""Names of a UNet's layers in the code of Stability AI (`input_blocks.1.0`), which LoRA files of SDXL have."""

from __future__ import annotations

from collections.abc import Collection

# Layers of a residual block: diffusers -> SGM.
_RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
    "norm1": "in_layers.0",
    "norm2": "out_layers.0",
}
_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def sgm_paths(paths: Collection[str]) -> dict[str, str]:
    """Return SGM's path -> path, for the layers of a UNet of diffusers.

    The numbers of blocks follow from the paths: an input block is a residual block or a downsampler, an output block a
    residual block with the upsampler that follows the last one.
    """
    blocks = _Blocks(paths)
    found = {path: blocks.sgm(path.split(".")) for path in paths}
    return {sgm: path for path, sgm in found.items() if sgm is not None}


class _Blocks:
    """Numbers of SGM's blocks."""

    def __init__(self, paths: Collection[str]):
        starts = {tuple(path.split(".")[:4]) for path in paths}
        self.attentive = {(side, block) for side, block, kind, *_ in _long(starts) if kind == "attentions"}
        self.resnets = {side: _count(starts, side) for side in ("down_blocks", "up_blocks")}

    def sgm(self, parts: list[str]) -> str | None:
        path = ".".join(parts)
        if path in _OUTSIDE:
            return _OUTSIDE[path]
        if parts[0] == "mid_block" and len(parts) > 3:
            place = {"resnets": 2 * int(parts[2]), "attentions": 1}.get(parts[1])
            return None if place is None else _inside(f"middle_block.{place}", parts[1], parts[3:])
        if parts[0] not in self.resnets or len(parts) < 5:
            return None
        side, block, kind, number, *rest = parts
        sizes = self.resnets[side]
        if side == "down_blocks":
            first = 1 + sum(size + 1 for size in sizes[: int(block)])
            if kind == "downsamplers":
                return f"input_blocks.{first + sizes[int(block)]}.0.op"
            start = f"input_blocks.{first + int(number)}"
        else:
            first = sum(sizes[: int(block)])
            if kind == "upsamplers":
                place = 2 if (side, block) in self.attentive else 1
                return f"output_blocks.{first + sizes[int(block)] - 1}.{place}.conv"
            start = f"output_blocks.{first + int(number)}"
        return _inside(f"{start}.{int(kind == 'attentions')}", kind, rest)


def _inside(start: str, kind: str, rest: list[str]) -> str | None:
    if kind == "attentions":
        return ".".join([start, *rest])
    name = _RESNET.get(".".join(rest))
    return None if name is None else f"{start}.{name}"


def _long(starts: Collection[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [start for start in starts if len(start) == 4]


def _count(starts: Collection[tuple[str, ...]], side: str) -> list[int]:
    """Return the number of residual blocks of each block."""
    numbers = [(int(start[1]), int(start[3])) for start in _long(starts) if start[0] == side and start[2] == "resnets"]
    blocks = range(max((block for block, _ in numbers), default=-1) + 1)
    return [sum(1 for other, _ in numbers if other == block) for block in blocks]
