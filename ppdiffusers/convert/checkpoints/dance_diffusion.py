"""Harmonai's Dance Diffusion: Lightning's checkpoint, whose shapes say all but the length and the rate of the sound."""

from __future__ import annotations

from typing import Any

from ppdiffusers.convert.checkpoints.base import Layout, Network, OriginalModel, Tensors, shape_of, under
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.dance_diffusion import rules

TITLE = "Dance Diffusion (audio-diffusion)"


_FIXED = {
    "time_embedding_type": "fourier",
    "flip_sin_to_cos": True,
    "use_timestep_embedding": False,
    "mid_block_type": "UNetMidBlock1D",
}


def read(settings: Settings, tensors: Tensors, average: bool) -> OriginalModel:
    """`diffusion_ema` is the average of `diffusion`; a network by itself is taken as it is."""
    tensors = under(tensors, "state_dict.") or dict(tensors)
    trained, averaged = under(tensors, "diffusion."), under(tensors, "diffusion_ema.")
    chosen = (averaged if average and averaged else trained) or tensors
    config = _unet_config(settings, chosen)
    settings.expect("latent_dim", 0, default=0)
    settings.finish(sections=[""])
    unet = Network("unet", "UNet1DModel", config, rules(config), chosen)
    return OriginalModel("DanceDiffusionPipeline", (unet,), ("IPNDMScheduler", {"num_train_timesteps": 1000}))


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, its names as they are."""
    return {"unet": Layout("UNet1DModel", rules, _FIXED)}


def _unet_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    features = 2 * shape_of(tensors, "timestep_embed.weight")[0]
    widths, attends = [shape_of(tensors, "net.0.main.0.weight")[0]], []
    inside = "net.3.main"
    while f"{inside}.1.main.0.weight" in tensors:
        widths.append(shape_of(tensors, f"{inside}.1.main.0.weight")[0])
        attends.append(f"{inside}.2.qkv_proj.weight" in tensors)
        inside += ".7.main"
    # the innermost level is the middle: ours always has attention there, and as many channels as around it
    if not attends or not attends[-1] or widths[-1] != widths[-2]:
        settings.refuse("the innermost level has no attention, or another width than the one around it")
    wider = [depth for depth, attend in enumerate(attends, 1) if attend and widths[depth] != widths[depth - 1]]
    if wider:
        settings.refuse(f"levels {wider} have attention and another width than the one around them")
    down = ["DownBlock1DNoSkip", *("AttnDownBlock1D" if attend else "DownBlock1D" for attend in attends[:-1])]
    up = [*("AttnUpBlock1D" if attend else "UpBlock1D" for attend in reversed(attends[:-1])), "UpBlock1DNoSkip"]
    channels = shape_of(tensors, "net.0.main.0.weight")[1] - features
    return {
        "sample_size": settings.integer("sample_size"),
        "sample_rate": settings.integer("sample_rate"),
        "in_channels": channels,
        "out_channels": channels,
        "extra_in_channels": features,
        "down_block_types": down,
        "up_block_types": up,
        "block_out_channels": widths[:-1] if attends else widths,
        **_FIXED,
    }
