"""DDPM's UNet (arXiv 2006.11239) in its PyTorch ports: pesser's pytorch_diffusion, ermongroup's ddim.

The autoencoders of taming-transformers have the same parts (`compvis_ldm`).
"""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.rules import Rename, Rule

_RESNET = {"norm1": "norm1", "conv1": "conv1", "temb_proj": "time_emb_proj", "norm2": "norm2", "conv2": "conv2"}
_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for the whole network; `config` is that of our UNet2DModel."""
    return (
        Rename("temb.dense.0.*", "time_embedding.linear_1.*"),
        Rename("temb.dense.1.*", "time_embedding.linear_2.*"),
        *down_rules("", config["down_block_types"]),
        *mid_rules(""),
        *up_rules("", config["up_block_types"]),
        Rename("norm_out.*", "conv_norm_out.*"),
    )


def down_rules(prefix: str, block_types: list[str], time: bool = True) -> tuple[Rule, ...]:
    """Return the rules for the down blocks, with or without time embeddings; `prefix` ends in a dot, or is empty."""
    found: list[Rule] = []
    for level, block_type in enumerate(block_types):
        source, target = f"{prefix}down.{level}", f"{prefix}down_blocks.{level}"
        found += _level(source, target, "Attn" in block_type, time)
        if level != len(block_types) - 1:
            found.append(Rename(f"{source}.downsample.conv.*", f"{target}.downsamplers.0.conv.*"))
    return tuple(found)


def mid_rules(prefix: str, time: bool = True) -> tuple[Rule, ...]:
    """Return the rules for the middle block."""
    source, target = f"{prefix}mid", f"{prefix}mid_block"
    return (
        *_resnet(f"{source}.block_1", f"{target}.resnets.0", time),
        *_attention(f"{source}.attn_1", f"{target}.attentions.0"),
        *_resnet(f"{source}.block_2", f"{target}.resnets.1", time),
    )


def up_rules(prefix: str, block_types: list[str], time: bool = True) -> tuple[Rule, ...]:
    """Return the rules for the up blocks. In the original, level 0 has the full resolution in both directions."""
    found: list[Rule] = []
    for position, block_type in enumerate(block_types):
        level = len(block_types) - 1 - position
        source, target = f"{prefix}up.{level}", f"{prefix}up_blocks.{position}"
        found += _level(source, target, "Attn" in block_type, time)
        if level != 0:
            found.append(Rename(f"{source}.upsample.conv.*", f"{target}.upsamplers.0.conv.*"))
    return tuple(found)


def _level(source: str, target: str, attend: bool, time: bool) -> tuple[Rule, ...]:
    attentions = _attention(f"{source}.attn.*", f"{target}.attentions.*") if attend else ()
    return (*_resnet(f"{source}.block.*", f"{target}.resnets.*", time), *attentions)


def _resnet(source: str, target: str, time: bool) -> tuple[Rule, ...]:
    return (
        *(Rename(f"{source}.{a}.*", f"{target}.{b}.*") for a, b in _RESNET.items() if time or a != "temb_proj"),
        Rename(f"{source}.nin_shortcut.*", f"{target}.conv_shortcut.*", optional=True),
    )


def _attention(source: str, target: str) -> tuple[Rule, ...]:
    return (
        Rename(f"{source}.norm.*", f"{target}.group_norm.*"),
        *(Rename(f"{source}.{a}.weight", f"{target}.{b}.weight", ones=2) for a, b in _ATTENTION.items()),
        *(Rename(f"{source}.{a}.bias", f"{target}.{b}.bias") for a, b in _ATTENTION.items()),
    )
