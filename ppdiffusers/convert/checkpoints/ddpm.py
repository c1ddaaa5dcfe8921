"""PyTorch ports of DDPM: pesser's pytorch_diffusion (converted TensorFlow weights) and ermongroup's ddim."""

from __future__ import annotations

from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    count_indices,
    missing_tensor,
    shape_of,
    strip_data_parallel,
    strip_prefix,
)
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.ddpm import rules
from ppdiffusers.core.errors import WeightsError
from ppdiffusers.core.tensors import LazyTensor

# Names in ddim's configuration, which has sections -> names in pytorch_diffusion's.
_SECTIONS = {
    "data.image_size": "resolution",
    "model.var_type": "model_var_type",
    **{f"diffusion.{name}": name for name in ("beta_schedule", "beta_start", "beta_end", "num_diffusion_timesteps")},
    **{f"model.{name}": name for name in ("in_channels", "out_ch", "ch", "ch_mult", "num_res_blocks")},
    **{f"model.{name}": name for name in ("attn_resolutions", "resamp_with_conv", "type")},
}
_IGNORED = ("dropout", "type")
_FIXED = {
    "downsample_padding": 0,  # the network pads on two sides only
    "attention_head_dim": None,
    "norm_num_groups": 32,
    "norm_eps": 1e-6,
    "time_embedding_type": "positional",
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "act_fn": "silu",
    "mid_block_scale_factor": 1,
    "center_input_sample": False,
    "resnet_time_scale_shift": "default",
}


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """Read most values from shapes; `resolution` is required."""
    given = settings.renamed(_SECTIONS)
    tensors = _state_dict(tensors, ema)
    config = _unet_config(given, tensors)
    scheduler = _scheduler(given)
    given.raise_problems(sections=[name for name in given.values if "." not in name], ignored=_IGNORED)
    return OriginalModel("DDPMPipeline", (Network("unet", "UNet2DModel", config, rules(config), tensors),), scheduler)


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, whose names have no prefix."""
    return {"unet": Layout("UNet2DModel", rules, _FIXED)}


def _state_dict(tensors: Tensors, ema: bool) -> dict[str, LazyTensor]:
    """Return a plain state dict, or one of those in ddim's list: [trained, optimizer, epoch, step, averaged]."""
    if "conv_in.weight" in strip_data_parallel(tensors):
        return strip_data_parallel(tensors)
    trained, averaged = (strip_data_parallel(strip_prefix(tensors, f"{position}.")) for position in (0, 4))
    found = averaged if ema and averaged else trained
    if "conv_in.weight" not in found:
        raise missing_tensor(tensors, "conv_in.weight")
    return found


def _unet_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    shapes = {name: shape_of(tensors, name) for name in ("conv_in.weight", "conv_out.weight")}
    wrong = [f"{name} {shape}" for name, shape in shapes.items() if len(shape) != 4]
    if wrong:
        raise WeightsError("These are not weights of 2D convolutions.", problems=wrong)
    width = settings.integer("ch", shapes["conv_in.weight"][0])
    levels = count_indices(tensors, "down.")
    found = [shape_of(tensors, f"down.{level}.block.0.conv1.weight")[0] // width for level in range(levels)]
    multipliers = settings.integers("ch_mult", found)
    size = settings.integer("resolution")
    found_resolutions = [size >> level for level in range(levels) if count_indices(tensors, f"down.{level}.attn.")]
    resolutions = settings.integers("attn_resolutions", found_resolutions)
    has_attention = [size >> level in resolutions for level in range(len(multipliers))]
    settings.expect("resamp_with_conv", True, default=True)
    return {
        "sample_size": size,
        "in_channels": settings.integer("in_channels", shapes["conv_in.weight"][1]),
        "out_channels": settings.integer("out_ch", shapes["conv_out.weight"][0]),
        "block_out_channels": [width * multiplier for multiplier in multipliers],
        "layers_per_block": settings.integer("num_res_blocks", count_indices(tensors, "down.0.block.")),
        "down_block_types": ["AttnDownBlock2D" if has else "DownBlock2D" for has in has_attention],
        "up_block_types": ["AttnUpBlock2D" if has else "UpBlock2D" for has in reversed(has_attention)],
        **_FIXED,
    }


def _scheduler(settings: Settings) -> tuple[str, dict[str, Any]]:
    schedule = settings.expect("beta_schedule", "linear", "quad", default="linear")
    variance = settings.expect("model_var_type", "fixedsmall", "fixedlarge", default="fixedsmall")
    return "DDPMScheduler", {
        "num_train_timesteps": settings.integer("num_diffusion_timesteps", 1000),
        "beta_schedule": {"linear": "linear", "quad": "scaled_linear"}[schedule],
        "beta_start": settings.number("beta_start", 0.0001),
        "beta_end": settings.number("beta_end", 0.02),
        "variance_type": {"fixedsmall": "fixed_small", "fixedlarge": "fixed_large"}[variance],
        "prediction_type": "epsilon",
        "clip_sample": True,
    }
