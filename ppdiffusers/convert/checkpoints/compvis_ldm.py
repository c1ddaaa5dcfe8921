"""CompVis' unconditional latent diffusion: a Lightning checkpoint of UNet and autoencoder, and a YAML file."""

from __future__ import annotations

from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    ema_without_dots,
    missing_tensor,
    strip_prefix,
)
from ppdiffusers.convert.checkpoints.guided_diffusion import FIXED, unet_config
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.compvis_ldm import unet_rules, vq_rules
from ppdiffusers.core.tensors import LazyTensor

_MODEL = "model.params."
_UNET = f"{_MODEL}unet_config.params."
_VQ = f"{_MODEL}first_stage_config.params."
# Prefixes of the two networks in the checkpoint.
_UNET_PREFIX, _VQ_PREFIX = "model.diffusion_model.", "first_stage_model."
# Values that only training and data loading use.
_IGNORED = (
    *(f"{_UNET}{name}" for name in ("image_size", "dropout", "use_checkpoint", "dims", "num_heads_upsample", "legacy")),
    *(f"{_VQ}ddconfig.{name}" for name in ("dropout", "resamp_with_conv", "attn_type")),
)
_VQ_FIXED = {"norm_num_groups": 32, "act_fn": "silu"}


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """Averaged weights of the UNet are `model_ema.*`; the autoencoder has none."""
    tensors = strip_prefix(tensors, "state_dict.") or dict(tensors)
    _check_kinds(settings)
    unet = _unet_config(settings)
    vq = _vq_config(settings, tensors)
    scheduler = _scheduler(settings)
    settings.raise_problems(sections=[_UNET, f"{_VQ}ddconfig."], ignored=_IGNORED)
    autoencoder = strip_prefix(tensors, _VQ_PREFIX)
    networks = (
        Network("unet", "UNet2DModel", unet, unet_rules(unet), _unet_tensors(tensors, ema)),
        Network("vqvae", "VQModel", vq, vq_rules(vq), {n: t for n, t in autoencoder.items() if _is_used(n)}),
    )
    return OriginalModel("LDMPipeline", networks, scheduler)


def layouts(settings: Settings) -> dict[str, Layout]:
    """Both networks with trained weights; averaged weights are not written."""
    return {
        "unet": Layout("UNet2DModel", unet_rules, FIXED, _UNET_PREFIX),
        "vqvae": Layout("VQModel", vq_rules, _VQ_FIXED, _VQ_PREFIX),
    }


def _is_used(name: str) -> bool:
    """Whether it is a weight of the autoencoder; the rest is the training loss and its discriminator, or EMA."""
    return not name.startswith(("loss.", "model_ema."))


def _unet_tensors(tensors: Tensors, ema: bool) -> dict[str, LazyTensor]:
    trained = strip_prefix(tensors, _UNET_PREFIX)
    if not trained:
        raise missing_tensor(tensors, f"{_UNET_PREFIX}*")
    averages = strip_prefix(tensors, "model_ema.")
    return ema_without_dots(trained, averages, "diffusion_model.") if ema and averages else trained


def _check_kinds(settings: Settings) -> None:
    target = settings.text(f"{_MODEL}first_stage_config.target", "VQModel")
    if "VQModel" not in target:
        settings.add_problem(f"the first stage is {target}: LDMPipeline requires a VQModel")
    condition = settings.values.get(f"{_MODEL}cond_stage_config", "__is_unconditional__")
    if condition != "__is_unconditional__" or f"{_MODEL}cond_stage_config.target" in settings.values:
        settings.add_problem(f"{_MODEL}cond_stage_config describes a condition, which is not supported")


def _unet_config(settings: Settings) -> dict[str, Any]:
    section = settings.section(_UNET)
    width = section.integer("model_channels")
    widths = [multiplier * width for multiplier in section.integers("channel_mult", [1, 2, 4, 8])]
    attention = section.integers("attention_resolutions")  # downsampling factors
    section.expect("use_spatial_transformer", False, default=False)
    section.expect("conv_resample", True, default=True)
    section.expect("use_new_attention_order", False, default=False)
    return {
        "sample_size": settings.integer(f"{_MODEL}image_size"),
        "in_channels": section.integer("in_channels"),
        "out_channels": section.integer("out_channels"),
        **unet_config(
            section,
            width,
            widths,
            has_attention=[2**level in attention for level in range(len(widths))],
            scale_shift=section.boolean("use_scale_shift_norm", False),
        ),
    }


def _vq_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    parts = settings.section(f"{_VQ}ddconfig.")
    size, width = parts.integer("resolution"), parts.integer("ch")
    multipliers = parts.integers("ch_mult")
    attention = parts.integers("attn_resolutions", [])
    has_attention = [size >> level in attention for level in range(len(multipliers))]
    parts.expect("double_z", False, default=False)
    return {
        "sample_size": size,
        "in_channels": parts.integer("in_channels"),
        "out_channels": parts.integer("out_ch"),
        "block_out_channels": [multiplier * width for multiplier in multipliers],
        "layers_per_block": parts.integer("num_res_blocks"),
        "down_block_types": ["AttnDownEncoderBlock2D" if has else "DownEncoderBlock2D" for has in has_attention],
        "up_block_types": ["AttnUpDecoderBlock2D" if has else "UpDecoderBlock2D" for has in reversed(has_attention)],
        "latent_channels": parts.integer("z_channels"),
        "vq_embed_dim": settings.integer(f"{_VQ}embed_dim"),
        "num_vq_embeddings": settings.integer(f"{_VQ}n_embed"),
        **_VQ_FIXED,
        "scaling_factor": _scaling_factor(settings, tensors),
    }


def _scaling_factor(settings: Settings, tensors: Tensors) -> float:
    """Factor of the latents: measured in training and stored in the checkpoint, or from the configuration, or 1."""
    if "scale_factor" in tensors and tensors["scale_factor"].size == 1:
        return float(tensors["scale_factor"].astype("float32").read().reshape(()))
    return settings.number(f"{_MODEL}scale_factor", 1.0)


def _scheduler(settings: Settings) -> tuple[str, dict[str, Any]]:
    """The original samples with DDIM at the steps 1, 1 + n, ...; the last step uses the first alpha instead of 1."""
    schedule = settings.expect(f"{_MODEL}beta_schedule", "linear", "sqrt_linear", default="linear")
    predicted = settings.expect(f"{_MODEL}parameterization", "eps", "x0", default="eps")
    return "DDIMScheduler", {
        "num_train_timesteps": settings.integer(f"{_MODEL}timesteps", 1000),
        "beta_schedule": {"linear": "scaled_linear", "sqrt_linear": "linear"}[schedule],
        "beta_start": settings.number(f"{_MODEL}linear_start", 0.0001),
        "beta_end": settings.number(f"{_MODEL}linear_end", 0.02),
        "prediction_type": {"eps": "epsilon", "x0": "sample"}[predicted],
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
    }
