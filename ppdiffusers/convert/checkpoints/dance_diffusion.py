"""Harmonai's Dance Diffusion: a Lightning checkpoint; its shapes give all but the length and rate of the audio."""

from __future__ import annotations

from typing import Any

from ppdiffusers.convert.checkpoints.base import Layout, Network, OriginalModel, Tensors, shape_of, strip_prefix
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.dance_diffusion import rules

_FIXED = {
    "time_embedding_type": "fourier",
    "flip_sin_to_cos": True,
    "use_timestep_embedding": False,
    "mid_block_type": "UNetMidBlock1D",
}


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """`diffusion_ema` contains averaged weights of `diffusion`; the state dict of one network is read as it is."""
    tensors = strip_prefix(tensors, "state_dict.") or dict(tensors)
    trained, averaged = strip_prefix(tensors, "diffusion."), strip_prefix(tensors, "diffusion_ema.")
    chosen = (averaged if ema and averaged else trained) or tensors
    config = _unet_config(settings, chosen)
    settings.expect("latent_dim", 0, default=0)
    settings.raise_problems(sections=[""])
    unet = Network("unet", "UNet1DModel", config, rules(config), chosen)
    return OriginalModel("DanceDiffusionPipeline", (unet,), ("IPNDMScheduler", {"num_train_timesteps": 1000}))


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, whose names have no prefix."""
    return {"unet": Layout("UNet1DModel", rules, _FIXED)}


def _unet_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    features = 2 * shape_of(tensors, "timestep_embed.weight")[0]
    widths, has_attention = [shape_of(tensors, "net.0.main.0.weight")[0]], []
    inside = "net.3.main"
    while f"{inside}.1.main.0.weight" in tensors:
        widths.append(shape_of(tensors, f"{inside}.1.main.0.weight")[0])
        has_attention.append(f"{inside}.2.qkv_proj.weight" in tensors)
        inside += ".7.main"
    # The innermost level is our middle block, which always has attention and the channels of the level around it.
    if not has_attention or not has_attention[-1] or widths[-1] != widths[-2]:
        settings.add_problem("the innermost level has no attention, or a different width than the level around it")
    wider = [depth for depth, has in enumerate(has_attention, 1) if has and widths[depth] != widths[depth - 1]]
    if wider:
        settings.add_problem(f"levels {wider} have attention and a different width than the level around them")
    down = ["DownBlock1DNoSkip", *("AttnDownBlock1D" if has else "DownBlock1D" for has in has_attention[:-1])]
    up = [*("AttnUpBlock1D" if has else "UpBlock1D" for has in reversed(has_attention[:-1])), "UpBlock1DNoSkip"]
    channels = shape_of(tensors, "net.0.main.0.weight")[1] - features
    return {
        "sample_size": settings.integer("sample_size"),
        "sample_rate": settings.integer("sample_rate"),
        "in_channels": channels,
        "out_channels": channels,
        "extra_in_channels": features,
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": widths[:-1] if has_attention else widths,
        **_FIXED,
    }
