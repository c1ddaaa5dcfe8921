"""OpenAI's GLIDE: a file of the base model and one of the upsampler, each with a UNet and its text encoder.

The configuration is code in the original repository; `--set base.num_res_blocks=2` overrides one of its values.
"""

from __future__ import annotations

from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    Tokenizer,
    count_indices,
    shape_of,
    strip_prefix,
)
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.glide import text_rules, unet_rules

BASE, UPSAMPLE, MERGES = "base", "upsample", "merges"
_TEXT = ("transformer", "transformer_proj", "final_ln", "token_embedding", "positional_embedding", "padding_embedding")
# The settings of the published checkpoints: images, channel multipliers, blocks a level, downsampling with attention.
_PUBLISHED: dict[str, tuple[int, list[int], int, list[int]]] = {
    BASE: (64, [1, 2, 3, 4], 3, [2, 4, 8]),
    UPSAMPLE: (256, [1, 1, 2, 2, 4, 4], 2, [8, 16, 32]),
}
# Settings of training, or of memory and speed, or that follow from shapes.
_IGNORED = (
    *("dropout", "use_fp16", "cache_text_emb", "num_heads", "num_heads_upsample", "in_channels", "out_channels"),
    *("text_ctx", "xf_width", "xf_layers", "xf_final_ln", "xf_padding", "model_channels"),
)
UNET_FIXED = {
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "class_embed_type": "identity",
    "resnet_time_scale_shift": "scale_shift",
    "downsample_padding": 1,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "act_fn": "silu",
    "mid_block_scale_factor": 1,
    "center_input_sample": False,
}
BETAS: dict[str, dict[str, Any]] = {
    BASE: {"beta_schedule": "squaredcos_cap_v2"},
    UPSAMPLE: {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
}


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """Read sizes from shapes; a file contains one set of weights, so `ema` has no effect."""
    parts = {part: strip_prefix(tensors, f"{part}/") for part in (BASE, UPSAMPLE)}
    channels = {part: shape_of(inside, "input_blocks.0.0.weight")[1] for part, inside in parts.items()}
    pipeline = {(3, 6): "GlidePipeline", (7, 10): "GlideInpaintPipeline"}.get((channels[BASE], channels[UPSAMPLE]))
    if pipeline is None:
        settings.add_problem(
            f"the base model has {channels[BASE]} input channels, the upsampler has {channels[UPSAMPLE]}; "
            "expected 3 and 6, or 7 and 10 for inpainting"
        )
    networks: list[Network] = []
    for part, inside in parts.items():
        section = settings.section(f"{part}.")
        networks += _networks(section, part, inside)
    settings.raise_problems(
        sections=[f"{part}." for part in parts], ignored=[f"{part}.{name}" for part in parts for name in _IGNORED]
    )
    common: dict[str, Any] = {"num_train_timesteps": 1000, "clip_sample": True}
    return OriginalModel(
        pipeline,
        tuple(networks),
        ("DDPMScheduler", {**common, **BETAS[BASE], "variance_type": "learned_range"}),
        schedulers={"upsampler_scheduler": ("DDIMScheduler", {**common, **BETAS[UPSAMPLE]})},
        tokenizers={"tokenizer": Tokenizer("GlideTokenizer", {"merges_file": MERGES})},
    )


def layouts(settings: Settings) -> dict[str, Layout]:
    """Two files with two networks each, whose names have no prefix."""
    return {
        name: Layout("UNet2DConditionModel", unet_rules, UNET_FIXED, prefix=f"{part}/")
        if "text" not in name
        else Layout("GlideTextModel", text_rules, {}, prefix=f"{part}/")
        for part in (BASE, UPSAMPLE)
        for name in _names(part)
    }


def _names(part: str) -> tuple[str, str]:
    """Return the components of a part: its UNet and its text encoder."""
    return ("unet", "text_encoder") if part == BASE else ("upsampler", "upsampler_text_encoder")


def _networks(settings: Settings, part: str, tensors: Tensors) -> list[Network]:
    text = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in _TEXT}
    rest = {name: tensor for name, tensor in tensors.items() if name not in text}
    context = shape_of(text, "token_embedding.weight")[1]
    unet = unet_config(settings, _PUBLISHED[part], rest, context)
    encoder = _text_config(settings, text)
    unet_name, text_name = _names(part)
    return [
        Network(unet_name, "UNet2DConditionModel", unet, unet_rules(unet), rest),
        Network(text_name, "GlideTextModel", encoder, text_rules(encoder), text),
    ]


def _text_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    vocabulary, width = shape_of(tensors, "token_embedding.weight")
    return {
        "vocab_size": vocabulary,
        "text_ctx": shape_of(tensors, "positional_embedding")[0],
        "width": width,
        "num_layers": count_indices(tensors, "transformer.resblocks."),
        "num_attention_heads": settings.integer("xf_heads", 8),
        "time_embed_dim": shape_of(tensors, "transformer_proj.weight")[0],
        "use_final_norm": "final_ln.weight" in tensors,
        "use_padding_embedding": "padding_embedding" in tensors,
    }


def unet_config(
    settings: Settings, published: tuple[int, list[int], int, list[int]], tensors: Tensors, context: int
) -> dict[str, Any]:
    """Return our configuration of a UNet of GLIDE; Karlo's decoder is another one.

    Args:
        published: image size, channel multipliers, blocks a level and levels with attention, where `settings` has none.
        context: channels of the tokens that it attends to.
    """
    size, multipliers, blocks, attention = published
    size = settings.integer("image_size", size)
    multipliers = settings.integers("channel_mult", multipliers)
    attention = settings.integers("attention_resolutions", attention)
    settings.expect("use_scale_shift_norm", True, default=True)
    settings.expect("resblock_updown", True, default=True)
    width, channels, *_ = shape_of(tensors, "input_blocks.0.0.weight")
    attends = [2**level in attention for level in range(len(multipliers))]
    return {
        "sample_size": size,
        "in_channels": channels,
        "out_channels": shape_of(tensors, "out.2.weight")[0],
        "block_out_channels": [width * multiplier for multiplier in multipliers],
        "layers_per_block": settings.integer("num_res_blocks", blocks),
        "down_block_types": ["SimpleCrossAttnDownBlock2D" if has else "ResnetDownsampleBlock2D" for has in attends],
        "up_block_types": ["SimpleCrossAttnUpBlock2D" if has else "ResnetUpsampleBlock2D" for has in attends[::-1]],
        "attention_head_dim": settings.integer("num_head_channels", 64),
        "cross_attention_dim": context,
        **UNET_FIXED,
    }
