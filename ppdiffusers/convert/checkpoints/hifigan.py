"""HiFi-GAN (github.com/jik876/hifi-gan): the checkpoint of a generator, and the values of its JSON configuration."""

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
from ppdiffusers.convert.names.hifigan import rules

DILATIONS = {"1": [1, 3, 5], "2": [1, 3]}


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """Read the widths from shapes, rates and dilations from the configuration."""
    tensors = strip_data_parallel(strip_prefix(tensors, "generator.") or tensors)
    config = _config(settings, tensors)
    settings.raise_problems(sections=[])  # the file also has the settings of training
    vocoder = Network("vocoder", "HiFiGANModel", config, rules(config), tensors)
    return OriginalModel(None, (vocoder,), None)


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, whose names have no prefix."""
    return {"vocoder": Layout("HiFiGANModel", rules, {})}


def _config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    normalized = "conv_pre.weight_v" in tensors
    weight = "weight_v" if normalized else "weight"
    channels, bins, _ = shape_of(tensors, f"conv_pre.{weight}")
    blocks = count_indices(tensors, "ups.")
    sizes = [shape_of(tensors, f"ups.{n}.{weight}")[2] for n in range(blocks)]
    rates = settings.integers("upsample_rates", [size // 2 for size in sizes])
    resblock = "1" if any(".convs1." in name for name in tensors) else "2"
    convs = "convs1" if resblock == "1" else "convs"
    count = count_indices(tensors, "resblocks.") // max(blocks, 1)
    kernels = [shape_of(tensors, f"resblocks.{n}.{convs}.0.{weight}")[2] for n in range(count)]
    settings.expect("hop_size", math.prod(rates), default=math.prod(rates))
    return {
        "cond_channels": bins,
        "upsample_rates": rates,
        "upsample_kernel_sizes": sizes,
        "upsample_initial_channel": channels,
        "resblock_kernel_sizes": kernels,
        "resblock_dilation_sizes": settings.integer_lists("resblock_dilation_sizes", [DILATIONS[resblock]] * count),
        "resblock": resblock,
        "use_weight_norm": normalized,
        "sample_rate": settings.integer("sampling_rate", 22050),
    }
