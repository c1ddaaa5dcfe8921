"""Karlo, Kakao Brain's unCLIP (arXiv 2204.06125): GLIDE's UNets, and a prior over CLIP's embeddings."""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.names.glide import unet_rules
from ppdiffusers.convert.names.guided_diffusion import input_rules, output_rules, resnet_rules
from ppdiffusers.convert.rules import Rename, Rule, Split

__all__ = ["prior_rules", "text_proj_rules", "unet_rules", "upscaler_rules"]

_PRIOR = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "clip_img_proj": "proj_in",
    "text_emb_proj": "embedding_proj",
    "text_enc_proj": "encoder_hidden_states_proj",
    "final_ln": "norm_out",
    "out_proj": "proj_to_clip_embeddings",
}
_BLOCK = {
    "ln_1": "norm1",
    "ln_2": "norm3",
    "attn.c_proj": "attn1.to_out.0",
    "mlp.c_fc": "ff.net.0.proj",
    "mlp.c_proj": "ff.net.2",
}
_TEXT_PROJ = {
    "text_seq_proj.0": "encoder_hidden_states_proj",
    "text_seq_proj.1": "text_encoder_hidden_states_norm",
    "clip_tok_proj": "clip_extra_context_tokens_proj",
    "text_feat_proj": "embedding_proj",
    "clip_emb": "clip_image_embeddings_project_to_time_embeddings",
}


def prior_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for a PriorTransformer, whose mean and deviation of CLIP embeddings are in another file."""
    source, target = "transformer.resblocks.*", "transformer_blocks.*"
    heads = config["num_attention_heads"]

    def parts(leaf: str) -> tuple[str, ...]:
        return tuple(f"{target}.attn1.to_{name}.{leaf}" for name in "qkv")

    return (
        *(Rename(f"{a}.*", f"{b}.*") for a, b in _PRIOR.items()),
        Rename("prd_emb", "prd_embedding"),
        *(Rename(f"{source}.{a}.*", f"{target}.{b}.*") for a, b in _BLOCK.items()),
        *(Split(f"{source}.attn.c_qkv.{leaf}", parts(leaf), groups=heads) for leaf in ("weight", "bias")),
        # [D] -> [1, D]
        Rename("clip_stats/0", "clip_mean", leading=-1),
        Rename("clip_stats/1", "clip_std", leading=-1),
    )


def text_proj_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for an UnCLIPTextProjModel, which is part of the decoder."""
    return (
        *(Rename(f"{a}.*", f"{b}.*") for a, b in _TEXT_PROJ.items()),
        Rename("cf_param", "learned_classifier_free_guidance_embeddings"),
    )


def upscaler_rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for a UNet2DModel without attention."""
    config = {**config, "downsample_type": "resnet", "upsample_type": "resnet"}
    middle = [rule for n in range(2) for rule in resnet_rules(f"middle_block.{n}", f"mid_block.resnets.{n}")]
    return (*input_rules(config, _no_attention), *middle, *output_rules(config, _no_attention))


def _no_attention(source: str, target: str, width: int) -> list[Rule]:
    return []
