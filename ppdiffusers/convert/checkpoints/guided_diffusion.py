"""OpenAI's guided-diffusion and improved-diffusion: a state dict, and the flags that its scripts were called with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ppdiffusers.convert.checkpoints.base import Layout, Network, OriginalModel, Tensors, shape_of, without_wrapper
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.guided_diffusion import rules

TITLE = "OpenAI guided-diffusion"
# The levels that the original chooses by the size of the picture where `channel_mult` is not given.
_MULTIPLIERS = {
    512: [0.5, 1, 1, 2, 2, 4, 4],
    256: [1, 1, 2, 2, 4, 4],
    128: [1, 1, 2, 3, 4],
    64: [1, 2, 3, 4],
    32: [1, 2, 2, 2],  # improved-diffusion only
}
# Flags of training and sampling scripts that say nothing about the network and its noise schedule.
_HARMLESS = (
    *("use_checkpoint", "use_fp16", "use_kl", "rescale_learned_sigmas", "timestep_respacing", "dropout"),
    *("data_dir", "schedule_sampler", "lr", "weight_decay", "lr_anneal_steps", "batch_size", "microbatch", "ema_rate"),
    *("log_interval", "save_interval", "resume_checkpoint", "fp16_scale_growth"),
    *("clip_denoised", "num_samples", "use_ddim", "model_path", "classifier_path", "classifier_scale"),
)


FIXED = {
    "downsample_padding": 1,
    "norm_num_groups": 32,
    "norm_eps": 1e-5,
    "time_embedding_type": "positional",
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "act_fn": "silu",
    "mid_block_scale_factor": 1,
    "center_input_sample": False,
}


def read(settings: Settings, tensors: Tensors, average: bool) -> OriginalModel:
    """Its files hold either the trained or the averaged weights: `average` chooses nothing."""
    tensors = without_wrapper(tensors)
    size, width = settings.integer("image_size", 64), settings.integer("num_channels", 128)
    multipliers = settings.integers("channel_mult", _MULTIPLIERS.get(size))
    if multipliers is None:
        settings.refuse(f"channel_mult is missing: there is no usual one for pictures of {size} pixels")
        multipliers = [1]
    widths = [int(multiplier * width) for multiplier in multipliers]
    resolutions = settings.integers("attention_resolutions", [16, 8])
    learned = settings.switch("learn_sigma", False)
    labelled = settings.switch("class_cond", False)
    config = {
        "sample_size": size,
        "in_channels": 3,
        "out_channels": 6 if learned else 3,
        **unet_config(
            settings,
            width,
            widths,
            # the original compares 2 ** level with size // resolution
            attended=[2**level in [size // max(1, r) for r in resolutions] for level in range(len(widths))],
            scale_shift=settings.switch("use_scale_shift_norm", True),
        ),
        "num_class_embeds": shape_of(tensors, "label_emb.weight")[0] if labelled else None,
    }
    heads_first = not settings.switch("use_new_attention_order", False)
    scheduler = _scheduler(settings, learned)
    settings.finish(sections=[""], harmless=_HARMLESS)
    left_out = {}
    if labelled:
        left_out["model_index.json"] = "no pipeline gives labels to a UNet2DModel: load the network by itself"
    unet = Network("unet", "UNet2DModel", config, rules(config, heads_first), tensors)
    return OriginalModel(None if labelled else "DDPMPipeline", (unet,), scheduler, left_out)


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, its names as they are."""
    heads_first = not settings.switch("use_new_attention_order", False)
    return {"unet": Layout("UNet2DModel", partial(rules, heads_first=heads_first), FIXED)}


def unet_config(
    settings: Settings, width: int, widths: Sequence[int], attended: Sequence[bool], scale_shift: bool
) -> dict[str, Any]:
    """Our configuration of this UNet, without its size and channels; CompVis' has the same names for it.

    Args:
        width: of the time features, the original's `model_channels`.
        widths: of the levels.
        attended: which of them have attention.
        scale_shift: how the time enters.
    """
    if widths[0] != width:
        settings.refuse(f"the first level is {widths[0]} wide and the time features {width}: ours are equally wide")
    resample = "resnet" if settings.switch("resblock_updown", False) else "conv"
    plain = {"resnet": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"), "conv": ("DownBlock2D", "UpBlock2D")}
    down, up = plain[resample]
    return {
        "block_out_channels": list(widths),
        "layers_per_block": settings.integer("num_res_blocks", 2),
        "down_block_types": ["AttnDownBlock2D" if attend else down for attend in attended],
        "up_block_types": ["AttnUpBlock2D" if attend else up for attend in reversed(attended)],
        "downsample_type": resample,
        "upsample_type": resample,
        "attention_head_dim": _head_width(settings, widths, attended),
        "resnet_time_scale_shift": "scale_shift" if scale_shift else "default",
        "attn_norm_num_groups": 32,
        **FIXED,
    }


def _head_width(settings: Settings, widths: Sequence[int], attended: Sequence[bool]) -> int:
    """Channels of an attention head. The original may count heads instead: then all levels have to agree."""
    channels = settings.integer("num_head_channels", -1)
    heads = settings.integer("num_heads", 4)
    upwards = settings.integer("num_heads_upsample", -1)
    if channels > 0:
        return channels
    if heads < 1 or upwards not in (-1, heads):
        settings.refuse(f"num_heads is {heads}, num_heads_upsample {upwards}: ours are the same going down and up")
        return 1
    found = {width // heads for width, attend in zip(widths, attended) if attend} | {widths[-1] // heads}
    if len(found) > 1:
        settings.refuse(
            f"num_heads is {heads} at every level: heads of {sorted(found)} channels, ours are equally wide"
        )
    return max(1, found.pop())


def _scheduler(settings: Settings, learned: bool) -> tuple[str, dict[str, Any]]:
    steps = settings.integer("diffusion_steps", 1000)
    schedule = settings.expect("noise_schedule", "linear", "cosine", default="linear")
    if settings.switch("rescale_timesteps", False) and steps != 1000:
        settings.refuse(f"rescale_timesteps with {steps} diffusion_steps: the network would be told fractions of steps")
    small = settings.switch("sigma_small", False)
    betas: Mapping[str, Any] = {"beta_schedule": "squaredcos_cap_v2"}
    if schedule == "linear":
        # the original stretches the betas of 1000 steps to any other number of steps
        betas = {"beta_schedule": "linear", "beta_start": 0.1 / steps, "beta_end": 20 / steps}
    return "DDPMScheduler", {
        "num_train_timesteps": steps,
        **betas,
        "variance_type": "learned_range" if learned else "fixed_small" if small else "fixed_large",
        "prediction_type": "sample" if settings.switch("predict_xstart", False) else "epsilon",
        "clip_sample": True,
    }
