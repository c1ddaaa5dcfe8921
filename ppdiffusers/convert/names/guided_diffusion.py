"""The UNet of OpenAI's guided-diffusion (arXiv 2105.05233) and improved-diffusion, also in CompVis' latent diffusion.

Its levels are flat lists; in one entry, the residual block is member 0, its attention member 1, a resampler the last.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppdiffusers.convert.rules import Rename, Rule, Split

# (name in the original, our name, channels) -> the rules for one attention layer
Attention = Callable[[str, str, int], list[Rule]]

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
}


def rules(config: Mapping[str, Any], heads_first: bool = True) -> tuple[Rule, ...]:
    """Return the rules for the whole network.

    Args:
        config: of our UNet2DModel.
        heads_first: whether the rows of `qkv` are ordered by head, then by query, key and value; False is the order of
            the original's `use_new_attention_order`.
    """

    def attention(source: str, target: str, width: int) -> list[Rule]:
        return attention_rules(source, target, width // config["attention_head_dim"] if heads_first else 1)

    found = [*input_rules(config, attention), *middle_rules(config, attention), *output_rules(config, attention)]
    if config.get("num_class_embeds"):
        found.append(Rename("label_emb.weight", "class_embedding.weight"))
    return tuple(found)


def input_rules(config: Mapping[str, Any], attention: Attention) -> list[Rule]:
    """Return the rules for the time embedding and the down blocks."""
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    found: list[Rule] = [
        Rename("time_embed.0.*", "time_embedding.linear_1.*"),
        Rename("time_embed.2.*", "time_embedding.linear_2.*"),
        Rename("input_blocks.0.0.*", "conv_in.*"),
    ]
    entry = 1
    for level, block_type in enumerate(config["down_block_types"]):
        target = f"down_blocks.{level}"
        for number in range(_of_level(layers, level)):
            source = f"input_blocks.{entry}"
            found += resnet_rules(f"{source}.0", f"{target}.resnets.{number}")
            if "Attn" in block_type:
                found += attention(f"{source}.1", f"{target}.attentions.{number}", widths[level])
            entry += 1
        if level != len(widths) - 1:
            kind = config.get("downsample_type", "conv")
            found += _resampler(f"input_blocks.{entry}.0", f"{target}.downsamplers.0", "op", kind)
            entry += 1
    return found


def middle_rules(config: Mapping[str, Any], attention: Attention) -> list[Rule]:
    """Return the rules for the middle block."""
    return [
        *resnet_rules("middle_block.0", "mid_block.resnets.0"),
        *attention("middle_block.1", "mid_block.attentions.0", config["block_out_channels"][-1]),
        *resnet_rules("middle_block.2", "mid_block.resnets.1"),
    ]


def output_rules(config: Mapping[str, Any], attention: Attention) -> list[Rule]:
    """Return the rules for the up blocks and the output layers."""
    widths, layers = config["block_out_channels"], config["layers_per_block"]
    last = len(widths) - 1
    found: list[Rule] = [Rename("out.0.*", "conv_norm_out.*"), Rename("out.2.*", "conv_out.*")]
    entry = 0
    for position, block_type in enumerate(config["up_block_types"]):
        target, attend = f"up_blocks.{position}", "Attn" in block_type
        for number in range(_of_level(layers, last - position) + 1):
            source = f"output_blocks.{entry}"
            found += resnet_rules(f"{source}.0", f"{target}.resnets.{number}")
            if attend:
                found += attention(f"{source}.1", f"{target}.attentions.{number}", widths[last - position])
            entry += 1
        if position != last:
            kind = config.get("upsample_type", "conv")
            found += _resampler(f"{source}.{2 if attend else 1}", f"{target}.upsamplers.0", "conv", kind)
    return found


def _of_level(layers: int | Sequence[int], level: int) -> int:
    return layers if isinstance(layers, int) else layers[level]


def resnet_rules(source: str, target: str) -> list[Rule]:
    """Return the rules for one residual block."""
    shortcut = Rename(f"{source}.skip_connection.*", f"{target}.conv_shortcut.*", optional=True)
    return [*(Rename(f"{source}.{a}.*", f"{target}.{b}.*") for a, b in _RESNET.items()), shortcut]


def _resampler(source: str, target: str, convolution: str, kind: str) -> list[Rule]:
    return (
        resnet_rules(source, target) if kind == "resnet" else [Rename(f"{source}.{convolution}.*", f"{target}.conv.*")]
    )


def attention_rules(source: str, target: str, groups: int) -> list[Rule]:
    """Return the rules for an attention layer; its rows are in `groups` with queries, keys and values each."""

    def parts(leaf: str) -> tuple[str, ...]:
        return tuple(f"{target}.{name}.{leaf}" for name in ("to_q", "to_k", "to_v"))

    return [
        Rename(f"{source}.norm.*", f"{target}.group_norm.*"),
        Split(f"{source}.qkv.weight", parts("weight"), groups=groups, ones=1),
        Split(f"{source}.qkv.bias", parts("bias"), groups=groups),
        Rename(f"{source}.proj_out.weight", f"{target}.to_out.0.weight", ones=1),
        Rename(f"{source}.proj_out.bias", f"{target}.to_out.0.bias"),
    ]
