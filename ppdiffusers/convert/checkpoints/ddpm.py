"""DDPM's PyTorch ports: pesser's pytorch_diffusion (weights made from the TensorFlow originals), ermongroup's ddim."""

from __future__ import annotations

from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    absent,
    members,
    shape_of,
    under,
    without_wrapper,
)
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.ddpm import rules
from ppdiffusers.core.errors import WeightsError

TITLE = "DDPM (pytorch_diffusion, ddim)"
# ddim keeps its settings in sections, pytorch_diffusion without.
_SECTIONS = {
    "data.image_size": "resolution",
    "model.var_type": "model_var_type",
    **{f"diffusion.{name}": name for name in ("beta_schedule", "beta_start", "beta_end", "num_diffusion_timesteps")},
    **{f"model.{name}": name for name in ("in_channels", "out_ch", "ch", "ch_mult", "num_res_blocks")},
    **{f"model.{name}": name for name in ("attn_resolutions", "resamp_with_conv", "type")},
}
_HARMLESS = ("dropout", "type")
_FIXED = {
    "downsample_padding": 0,  # on two sides only, by the network itself
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


def read(settings: Settings, tensors: Tensors, average: bool) -> OriginalModel:
    """The shapes say nearly everything; `resolution` has to be given."""
    given = settings.renamed(_SECTIONS)
    tensors = _chosen(tensors, average)
    config = _unet_config(given, tensors)
    scheduler = _scheduler(given)
    given.finish(sections=[name for name in given.values if "." not in name], harmless=_HARMLESS)
    return OriginalModel("DDPMPipeline", (Network("unet", "UNet2DModel", config, rules(config), tensors),), scheduler)


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, its names as they are."""
    return {"unet": Layout("UNet2DModel", rules, _FIXED)}


def _chosen(tensors: Tensors, average: bool) -> dict[str, Any]:
    """A plain state dict, or one of those in ddim's list: [trained, optimizer, epoch, step, averaged]."""
    if "conv_in.weight" in without_wrapper(tensors):
        return without_wrapper(tensors)
    trained, averaged = (without_wrapper(under(tensors, f"{position}.")) for position in (0, 4))
    found = averaged if average and averaged else trained
    if "conv_in.weight" not in found:
        raise absent(tensors, "conv_in.weight")
    return found


def _unet_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    shapes = {name: shape_of(tensors, name) for name in ("conv_in.weight", "conv_out.weight")}
    wrong = [f"{name} {shape}" for name, shape in shapes.items() if len(shape) != 4]
    if wrong:
        raise WeightsError("These are no convolutions of pictures.", problems=wrong)
    width = settings.integer("ch", shapes["conv_in.weight"][0])
    levels = members(tensors, "down.")
    found = [shape_of(tensors, f"down.{level}.block.0.conv1.weight")[0] // width for level in range(levels)]
    multipliers = settings.integers("ch_mult", found)
    size = settings.integer("resolution")
    attended = [size >> level for level in range(levels) if members(tensors, f"down.{level}.attn.")]
    resolutions = settings.integers("attn_resolutions", attended)
    attends = [size >> level in resolutions for level in range(len(multipliers))]
    settings.expect("resamp_with_conv", True, default=True)
    return {
        "sample_size": size,
        "in_channels": settings.integer("in_channels", shapes["conv_in.weight"][1]),
        "out_channels": settings.integer("out_ch", shapes["conv_out.weight"][0]),
        "block_out_channels": [width * multiplier for multiplier in multipliers],
        "layers_per_block": settings.integer("num_res_blocks", members(tensors, "down.0.block.")),
        "down_block_types": ["AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends],
        "up_block_types": ["AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)],
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
