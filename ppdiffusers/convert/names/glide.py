"""The UNet of GLIDE (arXiv 2112.10741): guided-diffusion's, whose attention has keys and values of the text too."""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.names.guided_diffusion import attention_rules, input_rules, middle_rules, output_rules
from ppdiffusers.convert.rules import Rule, Split

# all resamplers are residual blocks
_RESAMPLERS = {"downsample_type": "resnet", "upsample_type": "resnet"}


def unet_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for the whole network; `config` is that of our UNet2DConditionModel."""

    def attention(source: str, target: str, width: int) -> list[Rule]:
        heads = width // config["attention_head_dim"]

        def parts(leaf: str) -> tuple[str, ...]:
            return tuple(f"{target}.{name}.{leaf}" for name in ("add_k_proj", "add_v_proj"))

        return [
            *attention_rules(source, target, heads),
            Split(f"{source}.encoder_kv.weight", parts("weight"), groups=heads, ones=1),
            Split(f"{source}.encoder_kv.bias", parts("bias"), groups=heads),
        ]

    config = {**config, **_RESAMPLERS}
    return (*input_rules(config, attention), *middle_rules(config, attention), *output_rules(config, attention))


def text_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return no rule: the text encoder has the names of the original."""
    return ()
