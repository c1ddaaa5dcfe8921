"""Kakao Brain's Karlo: files of the prior, the decoder and the two networks of the upscaler, and statistics of CLIP.

The configurations are YAML files in the original repository; `--set decoder.num_res_blocks=2` overrides a value of
those.
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
    missing_tensor,
    shape_of,
    strip_prefix,
)
from ppdiffusers.convert.checkpoints.glide import UNET_FIXED, unet_config
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.karlo import prior_rules, text_proj_rules, unet_rules, upscaler_rules

_MODEL = "model."
_UPSCALERS = {"super_res_first": "model_first_steps.", "super_res_last": "model_last_step."}
_TEXT_PROJ = ("text_seq_proj", "text_feat_proj", "clip_tok_proj", "clip_emb", "cf_param")
# Image size, channel multipliers, blocks a level, downsampling with attention.
_DECODER: tuple[int, list[int], int, list[int]] = (64, [1, 2, 3, 4], 3, [2, 4, 8])
_STATISTICS = {"0": "clip_stats/0", "1": "clip_stats/1"}  # mean and standard deviation of CLIP's image embeddings
_UPSCALER_FIXED = {
    "add_attention": False,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "act_fn": "silu",
    "center_input_sample": False,
}
_SCHEDULERS: dict[str, dict[str, Any]] = {
    "prior_scheduler": {
        "variance_type": "fixed_small_log",
        "prediction_type": "sample",
        "clip_sample_range": 5.0,
    },
    "decoder_scheduler": {"variance_type": "learned_range", "prediction_type": "epsilon"},
    "super_res_scheduler": {"variance_type": "fixed_small_log", "prediction_type": "epsilon"},
}


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """Read widths from shapes; the files contain one set of weights, so `ema` has no effect."""
    prior = _inside(tensors, "prior", _MODEL)
    statistics = strip_prefix(tensors, "clip_stats/")
    prior = {**prior, **{name: statistics[key] for key, name in _STATISTICS.items() if key in statistics}}
    decoder = _inside(tensors, "decoder", _MODEL)
    projections = {name: tensor for name, tensor in decoder.items() if name.partition(".")[0] in _TEXT_PROJ}
    unet = {name: tensor for name, tensor in decoder.items() if name not in projections}
    prior_config = _prior_config(settings.section("prior."), prior)
    proj_config = _text_proj_config(projections)
    context = proj_config["cross_attention_dim"]
    decoder_config = unet_config(settings.section("decoder."), _DECODER, unet, context)
    networks = [
        Network("prior", "PriorTransformer", prior_config, prior_rules(prior_config), prior),
        Network("decoder", "UNet2DConditionModel", decoder_config, unet_rules(decoder_config), unet),
        Network("text_proj", "UnCLIPTextProjModel", proj_config, text_proj_rules(proj_config), projections),
    ]
    section = settings.section("super_res.")
    for name, prefix in _UPSCALERS.items():
        inside = _inside(tensors, "super_res", prefix)
        config = _upscaler_config(section, inside)
        networks.append(Network(name, "UNet2DModel", config, upscaler_rules(config), inside))
    settings.raise_problems(sections=["prior.", "decoder.", "super_res."])
    return OriginalModel(
        "UnCLIPPipeline",
        tuple(networks),
        None,
        left_out={
            "text_encoder": "that of openai/clip-vit-large-patch14: pass it to from_pretrained as `text_encoder`, a "
            "CLIPTextModelWithProjection"
        },
        schedulers={name: ("UnCLIPScheduler", config) for name, config in _SCHEDULERS.items()},
        tokenizers={"tokenizer": Tokenizer("CLIPTokenizer", settings={"pad_token": "!"})},
    )


def layouts(settings: Settings) -> dict[str, Layout]:
    """Files of the original's parts; the statistics of CLIP are tensors of the prior."""
    inside = f"state_dict.{_MODEL}"
    return {
        "prior": Layout("PriorTransformer", prior_rules, {"norm_in_type": None}, f"prior/{inside}"),
        "decoder": Layout("UNet2DConditionModel", unet_rules, UNET_FIXED, f"decoder/{inside}"),
        "text_proj": Layout("UnCLIPTextProjModel", text_proj_rules, {}, f"decoder/{inside}"),
        **{
            name: Layout("UNet2DModel", upscaler_rules, _UPSCALER_FIXED, f"super_res/state_dict.{prefix}")
            for name, prefix in _UPSCALERS.items()
        },
    }


def _inside(tensors: Tensors, part: str, prefix: str) -> Tensors:
    """Return the tensors of a network, without the prefixes of its part and of Lightning."""
    inside = strip_prefix(tensors, f"{part}/")
    found = strip_prefix(strip_prefix(inside, "state_dict.") or inside, prefix)
    if not found:
        raise missing_tensor(inside, f"{prefix}*")
    return found


def _prior_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    width, embedding = shape_of(tensors, "clip_img_proj.weight")
    heads = settings.integer("xf_heads", max(1, width // 64))
    return {
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "num_layers": count_indices(tensors, "transformer.resblocks."),
        "embedding_dim": embedding,
        "num_embeddings": shape_of(tensors, "positional_embedding")[1] - 4,
        "additional_embeddings": 4,
    }


def _text_proj_config(tensors: Tensors) -> dict[str, Any]:
    context, embedding = shape_of(tensors, "text_seq_proj.0.weight")
    return {
        "clip_extra_context_tokens": shape_of(tensors, "clip_tok_proj.weight")[0] // context,
        "clip_embeddings_dim": embedding,
        "time_embed_dim": shape_of(tensors, "clip_emb.weight")[0],
        "cross_attention_dim": context,
    }


def _upscaler_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    width, channels, *_ = shape_of(tensors, "input_blocks.0.0.weight")
    multipliers = settings.integers("channels_multiple", [1, 2, 3, 4])
    rows = shape_of(tensors, "input_blocks.1.0.emb_layers.1.weight")[0]
    scale_shift = rows == 2 * shape_of(tensors, "input_blocks.1.0.in_layers.2.weight")[0]
    return {
        "sample_size": settings.integer("image_size", 256),
        "in_channels": channels,
        "out_channels": shape_of(tensors, "out.2.weight")[0],
        "layers_per_block": settings.integer("depth", 3),
        "block_out_channels": [width * multiplier for multiplier in multipliers],
        "down_block_types": ["ResnetDownsampleBlock2D"] * len(multipliers),
        "up_block_types": ["ResnetUpsampleBlock2D"] * len(multipliers),
        "resnet_time_scale_shift": "scale_shift" if scale_shift else "default",
        **_UPSCALER_FIXED,
    }
