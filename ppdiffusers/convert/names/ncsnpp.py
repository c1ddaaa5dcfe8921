"""NCSN++ of score_sde (arXiv 2011.13456): one list, `all_modules`, in the order of the computation."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from ppdiffusers.convert.rules import Rename, Rule

_RESNET = {
    "GroupNorm_0": "norm1",
    "Conv_0": "conv1",
    "Dense_0": "time_emb_proj",
    "GroupNorm_1": "norm2",
    "Conv_1": "conv2",
}
_ATTENTION = {"NIN_0": "to_q", "NIN_1": "to_k", "NIN_2": "to_v", "NIN_3": "to_out.0"}


def rules(config: Mapping[str, Any], pyramids_counted: bool = True) -> tuple[Rule, ...]:
    """Return the rules for the whole network.

    Args:
        config: of our UNet2DModel.
        pyramids_counted: whether the resampling of the small image, which has no weights, has a separate number, as in
            score_sde_pytorch.
    """
    numbers = (f"all_modules.{number}" for number in count(4))
    found: list[Rule] = [
        Rename("all_modules.0.W", "time_proj.weight"),
        Rename("all_modules.1.*", "time_embedding.linear_1.*"),
        Rename("all_modules.2.*", "time_embedding.linear_2.*"),
        Rename("all_modules.3.*", "conv_in.*"),
    ]
    layers, last = config["layers_per_block"], len(config["down_block_types"]) - 1
    for level, block_type in enumerate(config["down_block_types"]):
        target = f"down_blocks.{level}"
        for layer in range(layers):
            found += _resnet(next(numbers), f"{target}.resnets.{layer}")
            if "Attn" in block_type:
                found += _attention(next(numbers), f"{target}.attentions.{layer}")
        if level != last:
            found += _resnet(next(numbers), f"{target}.resnet_down")
            if pyramids_counted:
                next(numbers)
            found.append(Rename(f"{next(numbers)}.Conv_0.*", f"{target}.skip_conv.*"))
    found += _resnet(next(numbers), "mid_block.resnets.0")
    found += _attention(next(numbers), "mid_block.attentions.0")
    found += _resnet(next(numbers), "mid_block.resnets.1")
    for position, block_type in enumerate(config["up_block_types"]):
        target = f"up_blocks.{position}"
        for layer in range(layers + 1):
            found += _resnet(next(numbers), f"{target}.resnets.{layer}")
        if "Attn" in block_type:  # only one, after all residual blocks of the level
            found += _attention(next(numbers), f"{target}.attentions.0")
        if pyramids_counted and position != 0:
            next(numbers)
        norm, convolution = (
            (f"{target}.skip_norm", f"{target}.skip_conv") if position != last else ("conv_norm_out", "conv_out")
        )
        found += [Rename(f"{next(numbers)}.*", f"{norm}.*"), Rename(f"{next(numbers)}.*", f"{convolution}.*")]
        if position != last:
            found += _resnet(next(numbers), f"{target}.resnet_up")
    return tuple(found)


def _resnet(source: str, target: str) -> list[Rule]:
    shortcut = Rename(f"{source}.Conv_2.*", f"{target}.conv_shortcut.*", optional=True)
    return [*(Rename(f"{source}.{a}.*", f"{target}.{b}.*") for a, b in _RESNET.items()), shortcut]


def _attention(source: str, target: str) -> list[Rule]:
    """Return the rules for an attention; the original's matrices are bare parameters [in, out]."""
    return [
        Rename(f"{source}.GroupNorm_0.*", f"{target}.group_norm.*"),
        *(Rename(f"{source}.{a}.W", f"{target}.{b}.weight", transpose=True) for a, b in _ATTENTION.items()),
        *(Rename(f"{source}.{a}.b", f"{target}.{b}.bias") for a, b in _ATTENTION.items()),
    ]
