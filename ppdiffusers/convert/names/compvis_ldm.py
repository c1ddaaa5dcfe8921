"""CompVis' unconditional latent diffusion (arXiv 2112.10752): guided-diffusion's UNet, and an autoencoder with a
codebook that consists of DDPM's parts, without time embeddings."""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.names.ddpm import down_rules, mid_rules, up_rules
from ppdiffusers.convert.names.guided_diffusion import rules as unet_rules
from ppdiffusers.convert.rules import Rename, Rule

__all__ = ["unet_rules", "vq_rules"]


def vq_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for the autoencoder; `config` is that of our VQModel. The name of the codebook is the same."""
    return (
        *down_rules("encoder.", config["down_block_types"], time=False),
        *mid_rules("encoder.", time=False),
        Rename("encoder.norm_out.*", "encoder.conv_norm_out.*"),
        *mid_rules("decoder.", time=False),
        *up_rules("decoder.", config["up_block_types"], time=False),
        Rename("decoder.norm_out.*", "decoder.conv_norm_out.*"),
    )
