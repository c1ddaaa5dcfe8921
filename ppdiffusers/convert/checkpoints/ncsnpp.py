"""NCSN++ of score_sde (variance exploding): a training checkpoint with EMA, and the values of its config file."""

from __future__ import annotations

import math
from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    check_attention_channels,
    count_indices,
    ema_from_list,
    shape_of,
    strip_data_parallel,
    strip_prefix,
)
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.ncsnpp import rules
from ppdiffusers.convert.rules import Rename, Rule
from ppdiffusers.core.tensors import LazyTensor

_FOURIER = "all_modules.0.W"  # random and not trained
_MIN_ATTENTION_CHANNELS = 128  # with fewer, group norms of the original have another number of groups than ours
_FIXED = {
    "time_embedding_type": "fourier",
    "mid_block_scale_factor": math.sqrt(2),
    "attention_head_dim": None,
    "norm_num_groups": None,
    "norm_eps": 1e-6,
    "act_fn": "silu",
}


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """`model` contains trained weights, `ema.shadow_params` their averages; a plain state dict is read as it is."""
    chosen = _state_dict(tensors, ema)
    shape_of(chosen, _FOURIER)
    config = _unet_config(settings)
    scheduler = _scheduler(settings)
    settings.raise_problems()
    numbered, unnumbered = rules(config), rules(config, pyramids_counted=False)
    is_unnumbered = count_indices(chosen, "all_modules.") == _module_count(unnumbered)
    unet = Network("unet", "UNet2DModel", config, unnumbered if is_unnumbered else numbered, chosen)
    return OriginalModel("ScoreSdeVePipeline", (unet,), scheduler)


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, numbered as in score_sde_pytorch."""
    return {"unet": Layout("UNet2DModel", rules, _FIXED, min_attention_channels=_MIN_ATTENTION_CHANNELS)}


def _state_dict(tensors: Tensors, ema: bool) -> dict[str, LazyTensor]:
    trained = strip_data_parallel(strip_prefix(tensors, "model.") or tensors)
    trained.pop("sigmas", None)  # a buffer computed from the configuration
    averages = strip_prefix(tensors, "ema.shadow_params.")
    chosen = ema_from_list(trained, averages, [_FOURIER]) if ema and averages else trained
    # two names of the 1x1 convolution that adds the downsampled image
    return {name.replace(".Conv.", ".Conv_0."): tensor for name, tensor in chosen.items()}


def _module_count(found: tuple[Rule, ...]) -> int:
    return 1 + max(int(rule.source.split(".")[1]) for rule in found if isinstance(rule, Rename))


def _unet_config(settings: Settings) -> dict[str, Any]:
    model = settings.section("model.")
    for name, supported in (
        ("embedding_type", "fourier"),
        ("progressive", "output_skip"),
        ("progressive_input", "input_skip"),
        ("progressive_combine", "sum"),
        ("resblock_type", "biggan"),
        ("nonlinearity", "swish"),
    ):
        model.expect(name, supported, default=supported)
    for name in ("fir", "skip_rescale", "conditional", "scale_by_sigma"):
        model.expect(name, True, default=True)
    model.expect("fir_kernel", [1, 3, 3, 1], default=[1, 3, 3, 1])
    settings.expect("data.num_channels", 3, default=3)
    size, width = settings.integer("data.image_size"), model.integer("nf")
    widths = [multiplier * width for multiplier in model.integers("ch_mult")]
    resolutions = model.integers("attn_resolutions")
    has_attention = [size >> level in resolutions for level in range(len(widths))]
    settings.problems.extend(check_attention_channels(widths, has_attention, _MIN_ATTENTION_CHANNELS))
    return {
        "sample_size": size,
        "in_channels": 3,
        "out_channels": 3,
        "center_input_sample": not settings.boolean("data.centered", False),
        "block_out_channels": widths,
        "layers_per_block": model.integer("num_res_blocks"),
        "down_block_types": ["AttnSkipDownBlock2D" if has else "SkipDownBlock2D" for has in has_attention],
        "up_block_types": ["AttnSkipUpBlock2D" if has else "SkipUpBlock2D" for has in reversed(has_attention)],
        **_FIXED,
    }


def _scheduler(settings: Settings) -> tuple[str, dict[str, Any]]:
    settings.expect("training.sde", "vesde", default="vesde")
    return "ScoreSdeVeScheduler", {
        "num_train_timesteps": settings.integer("model.num_scales"),
        "sigma_min": settings.number("model.sigma_min"),
        "sigma_max": settings.number("model.sigma_max"),
        "snr": settings.number("sampling.snr"),
        "correct_steps": settings.integer("sampling.n_steps_each", 1),
        "sampling_eps": 1e-5,
    }
