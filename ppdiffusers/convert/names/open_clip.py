"""The text encoders of OpenCLIP in Stable Diffusion 2 and XL; their queries, keys and values are one matrix."""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.rules import Rename, Rule, Split

_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def text_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for a CLIPTextModel, or with a projection; `config` is not needed."""
    source, target = "transformer.resblocks.*", "text_model.encoder.layers.*"

    def parts(leaf: str) -> tuple[str, ...]:
        return tuple(f"{target}.self_attn.{name}_proj.{leaf}" for name in "qkv")

    return (
        Rename("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        Rename("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        *(Rename(f"{source}.{a}.*", f"{target}.{b}.*") for a, b in _BLOCK.items()),
        Split(f"{source}.attn.in_proj_weight", parts("weight")),
        Split(f"{source}.attn.in_proj_bias", parts("bias")),
        Rename("ln_final.*", "text_model.final_layer_norm.*"),
        Rename("text_projection", "text_projection.weight", transpose=True, optional=True),
    )
