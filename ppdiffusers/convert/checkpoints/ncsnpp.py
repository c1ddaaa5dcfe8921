"""NCSN++ of score_sde (variance exploding): a training checkpoint with averages, and the values of its config file."""

from __future__ import annotations

import math
from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    averaged_in_order,
    members,
    narrow_attention,
    shape_of,
    under,
    without_wrapper,
)
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.ncsnpp import rules
from ppdiffusers.core.tensors import LazyTensor

TITLE = "score_sde NCSN++"
_FOURIER = "all_modules.0.W"  # drawn once, never trained
_NARROWEST_ATTENTION = 128  # narrower ones have another number of groups in the original's norms than in ours


_FIXED = {
    "time_embedding_type": "fourier",
    "mid_block_scale_factor": math.sqrt(2),
    "attention_head_dim": None,
    "norm_num_groups": None,
    "norm_eps": 1e-6,
    "act_fn": "silu",
}


def read(settings: Settings, tensors: Tensors, average: bool) -> OriginalModel:
    """`model` is what was trained, `ema.shadow_params` lists the averages; a plain state dict is taken as it is."""
    chosen = _chosen(tensors, average)
    shape_of(chosen, _FOURIER)
    config = _unet_config(settings)
    scheduler = _scheduler(settings)
    settings.finish()
    numbered, unnumbered = rules(config), rules(config, pyramids_counted=False)
    packed = members(chosen, "all_modules.") == _numbers(unnumbered)
    unet = Network("unet", "UNet2DModel", config, unnumbered if packed else numbered, chosen)
    return OriginalModel("ScoreSdeVePipeline", (unet,), scheduler)


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, numbered as score_sde_pytorch numbers it."""
    return {"unet": Layout("UNet2DModel", rules, _FIXED, fewest_attended=_NARROWEST_ATTENTION)}


def _chosen(tensors: Tensors, average: bool) -> dict[str, LazyTensor]:
    trained = without_wrapper(under(tensors, "model.") or tensors)
    trained.pop("sigmas", None)  # a buffer that follows from the configuration
    averages = under(tensors, "ema.shadow_params.")
    chosen = averaged_in_order(trained, averages, [_FOURIER]) if average and averages else trained
    # two spellings of the 1x1 convolution that adds the small picture
    return {name.replace(".Conv.", ".Conv_0."): tensor for name, tensor in chosen.items()}


def _numbers(found: tuple) -> int:
    return 1 + max(int(rule.source.split(".")[1]) for rule in found)


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
    attends = [size >> level in resolutions for level in range(len(widths))]
    settings.problems.extend(narrow_attention(widths, attends, _NARROWEST_ATTENTION))
    return {
        "sample_size": size,
        "in_channels": 3,
        "out_channels": 3,
        "center_input_sample": not settings.switch("data.centered", False),
        "block_out_channels": widths,
        "layers_per_block": model.integer("num_res_blocks"),
        "down_block_types": ["AttnSkipDownBlock2D" if attend else "SkipDownBlock2D" for attend in attends],
        "up_block_types": ["AttnSkipUpBlock2D" if attend else "SkipUpBlock2D" for attend in reversed(attends)],
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
