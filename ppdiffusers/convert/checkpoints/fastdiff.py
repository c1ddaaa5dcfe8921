"""FastDiff (github.com/Rongjiehuang/FastDiff): a training checkpoint, and the values of its YAML configuration."""

from __future__ import annotations

import math
from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    count_indices,
    shape_of,
    strip_data_parallel,
    strip_prefix,
)
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.fastdiff import rules

PREDICTOR = "lvc_blocks.0.kernel_predictor"


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """Read the widths from shapes; `upsample_ratios` too, from the kernels of the transposed convolutions."""
    inside = strip_prefix(tensors, "state_dict.model.") or strip_prefix(tensors, "model.") or tensors
    tensors = strip_data_parallel(inside)
    config = _config(settings, tensors)
    scheduler = {
        "num_train_timesteps": settings.integer("T", 1000),
        "beta_start": settings.number("beta_0", 1e-6),
        "beta_end": settings.number("beta_T", 0.01),
        "inference_schedule": "fastdiff",
    }
    settings.raise_problems(sections=[])  # the file also has the settings of training
    vocoder = Network("vocoder", "FastDiffModel", config, rules(config), tensors)
    return OriginalModel("FastDiffPipeline", (vocoder,), ("BDDMScheduler", scheduler))


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, whose names have no prefix."""
    return {"vocoder": Layout("FastDiffModel", rules, {})}


def _config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    blocks = count_indices(tensors, "lvc_blocks.")
    normalized = "first_audio_conv.weight_v" in tensors
    weight = "weight_v" if normalized else "weight"

    def shape(name: str) -> tuple[int, ...]:
        return shape_of(tensors, f"{name}.{weight}")

    ratios = [shape_of(tensors, f"lvc_blocks.{n}.upsample.weight")[2] // 2 for n in range(blocks)]
    hidden, bins, _ = shape(f"{PREDICTOR}.input_conv.0")
    ratios = settings.integers("upsample_ratios", ratios)
    settings.expect("hop_size", math.prod(ratios), default=math.prod(ratios))
    return {
        "audio_channels": shape("final_conv.0")[0],
        "inner_channels": shape("first_audio_conv")[0],
        "cond_channels": settings.integer("cond_channels", bins),
        "upsample_ratios": ratios,
        "lvc_layers_each_block": count_indices(tensors, "lvc_blocks.0.convs."),
        "lvc_kernel_size": shape("lvc_blocks.0.convs.0")[2],
        "kpnet_hidden_channels": hidden,
        "kpnet_conv_size": shape(f"{PREDICTOR}.kernel_conv")[2],
        "dropout": settings.number("dropout", 0.0),
        "diffusion_step_embed_dim_in": shape_of(tensors, "fc_t1.weight")[1],
        "diffusion_step_embed_dim_mid": shape_of(tensors, "fc_t1.weight")[0],
        "diffusion_step_embed_dim_out": shape_of(tensors, "fc_t2.weight")[0],
        "use_weight_norm": normalized,
        "sample_rate": settings.integer("audio_sample_rate", 22050),
    }
