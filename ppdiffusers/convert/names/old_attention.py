"""Attention blocks of diffusers before 0.14, in the files of SD 1.x VAEs and DDPM networks."""

from ppdiffusers.convert.rules import KeyMapping, Rename

KEY_MAPPING = KeyMapping(
    name="the attention names of diffusers before 0.14",
    present=("**.attentions.*.query.weight", "**.attentions.*.proj_attn.weight"),
    rules=(
        Rename("**.attentions.*.query.*", "**.attentions.*.to_q.*"),
        Rename("**.attentions.*.key.*", "**.attentions.*.to_k.*"),
        Rename("**.attentions.*.value.*", "**.attentions.*.to_v.*"),
        Rename("**.attentions.*.proj_attn.*", "**.attentions.*.to_out.0.*"),
        Rename("**.attentions.*.norm.*", "**.attentions.*.group_norm.*", optional=True),
    ),
)
