"""OpenAI's guided-diffusion and improved-diffusion: a state dict, and the command-line flags of their scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ppdiffusers.convert.checkpoints.base import Layout, Network, OriginalModel, Tensors, shape_of, strip_data_parallel
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.guided_diffusion import rules

# Channel multipliers that the original chooses by the image size if `channel_mult` is not given.
_MULTIPLIERS: dict[int, list[float]] = {
    512: [0.5, 1, 1, 2, 2, 4, 4],
    256: [1, 1, 2, 2, 4, 4],
    128: [1, 1, 2, 3, 4],
    64: [1, 2, 3, 4],
    32: [1, 2, 2, 2],  # improved-diffusion only
}
# Flags of training and sampling scripts that change neither the network nor its noise schedule.
_IGNORED = (
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


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """A file contains either trained or averaged weights, so `ema` has no effect."""
    tensors = strip_data_parallel(tensors)
    size, width = settings.integer("image_size", 64), settings.integer("num_channels", 128)
    multipliers = settings.integers("channel_mult", _MULTIPLIERS.get(size))
    if multipliers is None:
        settings.add_problem(f"channel_mult is missing: there is no default for images of {size} pixels")
        multipliers = [1]
    widths = [int(multiplier * width) for multiplier in multipliers]
    resolutions = settings.integers("attention_resolutions", [16, 8])
    learned = settings.boolean("learn_sigma", False)
    has_classes = settings.boolean("class_cond", False)
    config = {
        "sample_size": size,
        "in_channels": 3,
        "out_channels": 6 if learned else 3,
        **unet_config(
            settings,
            width,
            widths,
            # the original compares 2 ** level with size // resolution
            has_attention=[2**level in [size // max(1, r) for r in resolutions] for level in range(len(widths))],
            scale_shift=settings.boolean("use_scale_shift_norm", True),
        ),
        "num_class_embeds": shape_of(tensors, "label_emb.weight")[0] if has_classes else None,
    }
    heads_first = not settings.boolean("use_new_attention_order", False)
    scheduler = _scheduler(settings, learned)
    settings.raise_problems(sections=[""], ignored=_IGNORED)
    left_out = {}
    if has_classes:
        left_out["model_index.json"] = "no pipeline passes class labels to a UNet2DModel: load the network alone"
    unet = Network("unet", "UNet2DModel", config, rules(config, heads_first), tensors)
    return OriginalModel(None if has_classes else "DDPMPipeline", (unet,), scheduler, left_out)


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network, whose names have no prefix."""
    heads_first = not settings.boolean("use_new_attention_order", False)
    return {"unet": Layout("UNet2DModel", partial(rules, heads_first=heads_first), FIXED)}


def unet_config(
    settings: Settings, width: int, widths: Sequence[int], has_attention: Sequence[bool], scale_shift: bool
) -> dict[str, Any]:
    """Return our configuration of this UNet without size and channels; CompVis uses the same names.

    Args:
        width: channels of the timestep features, the original's `model_channels`.
        widths: channels of the levels.
        has_attention: which levels have attention.
        scale_shift: whether the time embedding scales and shifts features, or is added to them.
    """
    if widths[0] != width:
        settings.add_problem(
            f"the first level has {widths[0]} channels, the timestep features {width}: only equal numbers are supported"
        )
    resample = "resnet" if settings.boolean("resblock_updown", False) else "conv"
    plain = {"resnet": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"), "conv": ("DownBlock2D", "UpBlock2D")}
    down, up = plain[resample]
    return {
        "block_out_channels": list(widths),
        "layers_per_block": settings.integer("num_res_blocks", 2),
        "down_block_types": ["AttnDownBlock2D" if has else down for has in has_attention],
        "up_block_types": ["AttnUpBlock2D" if has else up for has in reversed(has_attention)],
        "downsample_type": resample,
        "upsample_type": resample,
        "attention_head_dim": _head_channels(settings, widths, has_attention),
        "resnet_time_scale_shift": "scale_shift" if scale_shift else "default",
        "attn_norm_num_groups": 32,
        **FIXED,
    }


def _head_channels(settings: Settings, widths: Sequence[int], has_attention: Sequence[bool]) -> int:
    """Return the channels of an attention head. The original may fix the number of heads instead of their channels."""
    channels = settings.integer("num_head_channels", -1)
    heads = settings.integer("num_heads", 4)
    heads_up = settings.integer("num_heads_upsample", -1)
    if channels > 0:
        return channels
    if heads < 1 or heads_up not in (-1, heads):
        settings.add_problem(f"num_heads is {heads}, num_heads_upsample {heads_up}: only equal numbers are supported")
        return 1
    found = {width // heads for width, has in zip(widths, has_attention) if has} | {widths[-1] // heads}
    if len(found) > 1:
        settings.add_problem(
            f"num_heads is {heads}, which gives heads of {sorted(found)} channels: only equal ones are supported"
        )
    return max(1, found.pop())


def _scheduler(settings: Settings, learned: bool) -> tuple[str, dict[str, Any]]:
    steps = settings.integer("diffusion_steps", 1000)
    schedule = settings.expect("noise_schedule", "linear", "cosine", default="linear")
    if settings.boolean("rescale_timesteps", False) and steps != 1000:
        settings.add_problem(f"rescale_timesteps with {steps} diffusion_steps: fractional timesteps are not supported")
    small = settings.boolean("sigma_small", False)
    betas: Mapping[str, Any] = {"beta_schedule": "squaredcos_cap_v2"}
    if schedule == "linear":
        # the original scales the betas of 1000 steps to any other number of steps
        betas = {"beta_schedule": "linear", "beta_start": 0.1 / steps, "beta_end": 20 / steps}
    return "DDPMScheduler", {
        "num_train_timesteps": steps,
        **betas,
        "variance_type": "learned_range" if learned else "fixed_small" if small else "fixed_large",
        "prediction_type": "sample" if settings.boolean("predict_xstart", False) else "epsilon",
        "clip_sample": True,
    }
