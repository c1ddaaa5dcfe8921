"""Stable Diffusion's networks as CompVis' and Stability's repositories, the web UI and ComfyUI store them in one file.

The UNet is that of guided-diffusion with transformers instead of attention layers; a transformer has the same names in
both worlds. The autoencoder has the parts of taming-transformers.
"""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.names.compvis_ldm import vq_rules
from ppdiffusers.convert.names.guided_diffusion import input_rules, middle_rules, output_rules, resnet_rules
from ppdiffusers.convert.rules import Rename, Rule

__all__ = ["controlnet_rules", "unet_rules", "vae_rules"]


def unet_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for a UNet2DConditionModel with this configuration."""
    return (
        *input_rules(config, _transformer),
        *_middle(config),
        *output_rules(config, _transformer),
        *_label_rules(config),
    )


def controlnet_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for a ControlNetModel with this configuration."""
    convolutions = 2 * (len(config.get("conditioning_embedding_out_channels", _HINT_WIDTHS)) - 1)
    hint, embedding = "input_hint_block", "controlnet_cond_embedding"
    return (
        *input_rules(config, _transformer),
        *_middle(config),
        *_label_rules(config),
        Rename("zero_convs.*.0.*", "controlnet_down_blocks.*.*"),
        Rename("middle_block_out.0.*", "controlnet_mid_block.*"),
        Rename(f"{hint}.0.*", f"{embedding}.conv_in.*"),
        # an activation follows each convolution
        *(Rename(f"{hint}.{2 * n + 2}.*", f"{embedding}.blocks.{n}.*") for n in range(convolutions)),
        Rename(f"{hint}.{2 * convolutions + 2}.*", f"{embedding}.conv_out.*"),
    )


def vae_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for an AutoencoderKL with this configuration; its attention layers are 1x1 convolutions."""
    return vq_rules(config)


_HINT_WIDTHS = (16, 32, 96, 256)  # the default of ControlNetModel


def _middle(config: Mapping[str, Any]) -> list[Rule]:
    """Return the rules for the middle block, which distilled networks lack, or have without attention."""
    kind = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    if kind is None:
        return []
    if kind == "UNetMidBlock2D":
        return resnet_rules("middle_block.0", "mid_block.resnets.0")
    return middle_rules(config, _transformer)


def _transformer(source: str, target: str, width: int) -> list[Rule]:
    return [Rename(f"{source}.**", f"{target}.**")]


def _label_rules(config: Mapping[str, Any]) -> list[Rule]:
    """Return the rules for the embedding of a class, or of sizes and a pooled prompt."""
    if config.get("num_class_embeds"):
        return [Rename("label_emb.weight", "class_embedding.weight")]
    pairs = ("linear_1", "0"), ("linear_2", "2")
    if config.get("class_embed_type") in ("timestep", "projection"):
        return [Rename(f"label_emb.0.{number}.*", f"class_embedding.{layer}.*") for layer, number in pairs]
    if config.get("addition_embed_type") == "text_time":
        return [Rename(f"label_emb.0.{number}.*", f"add_embedding.{layer}.*") for layer, number in pairs]
    return []
