"""CompVis' latent diffusion without a condition: Lightning's checkpoint of the UNet and the autoencoder, and a YAML."""

from __future__ import annotations

from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    absent,
    averaged_without_dots,
    under,
)
from ppdiffusers.convert.checkpoints.guided_diffusion import FIXED, unet_config
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.compvis_ldm import unet_rules, vq_rules
from ppdiffusers.core.tensors import LazyTensor

TITLE = "CompVis latent diffusion, unconditional"
_MODEL = "model.params."
_UNET = f"{_MODEL}unet_config.params."
_VQ = f"{_MODEL}first_stage_config.params."
# where the two lie in the checkpoint
_WRAPPED, _FIRST_STAGE = "model.diffusion_model.", "first_stage_model."
# what training needs, or what pictures are made of before they come to the network
_HARMLESS = (
    *(f"{_UNET}{name}" for name in ("image_size", "dropout", "use_checkpoint", "dims", "num_heads_upsample", "legacy")),
    *(f"{_VQ}ddconfig.{name}" for name in ("dropout", "resamp_with_conv", "attn_type")),
)


_VQ_FIXED = {"norm_num_groups": 32, "act_fn": "silu"}


def read(settings: Settings, tensors: Tensors, average: bool) -> OriginalModel:
    """The UNet's averaged weights are `model_ema.*`; the autoencoder has no average."""
    tensors = under(tensors, "state_dict.") or dict(tensors)
    _check_kinds(settings)
    unet = _unet_config(settings)
    vq = _vq_config(settings, tensors)
    scheduler = _scheduler(settings)
    settings.finish(sections=[_UNET, f"{_VQ}ddconfig."], harmless=_HARMLESS)
    autoencoder = under(tensors, _FIRST_STAGE)
    networks = (
        Network("unet", "UNet2DModel", unet, unet_rules(unet), _unet_tensors(tensors, average)),
        Network("vqvae", "VQModel", vq, vq_rules(vq), {n: t for n, t in autoencoder.items() if _is_used(n)}),
    )
    return OriginalModel("LDMPipeline", networks, scheduler)


def layouts(settings: Settings) -> dict[str, Layout]:
    """Both networks, as trained ones: there is no second set of weights."""
    return {
        "unet": Layout("UNet2DModel", unet_rules, FIXED, _WRAPPED),
        "vqvae": Layout("VQModel", vq_rules, _VQ_FIXED, _FIRST_STAGE),
    }


def _is_used(name: str) -> bool:
    """Whether the autoencoder needs it; the rest judged its pictures in training, or is its own average."""
    return not name.startswith(("loss.", "model_ema."))


def _unet_tensors(tensors: Tensors, average: bool) -> dict[str, LazyTensor]:
    trained = under(tensors, _WRAPPED)
    if not trained:
        raise absent(tensors, f"{_WRAPPED}*")
    averages = under(tensors, "model_ema.")
    return averaged_without_dots(trained, averages, "diffusion_model.") if average and averages else trained


def _check_kinds(settings: Settings) -> None:
    target = settings.text(f"{_MODEL}first_stage_config.target", "VQModel")
    if "VQModel" not in target:
        settings.refuse(f"the first stage is {target}: LDMPipeline decodes with a VQModel")
    condition = settings.values.get(f"{_MODEL}cond_stage_config", "__is_unconditional__")
    if condition != "__is_unconditional__" or f"{_MODEL}cond_stage_config.target" in settings.values:
        settings.refuse(f"{_MODEL}cond_stage_config describes a condition: unconditional models only")


def _unet_config(settings: Settings) -> dict[str, Any]:
    section = settings.section(_UNET)
    width = section.integer("model_channels")
    widths = [multiplier * width for multiplier in section.integers("channel_mult", [1, 2, 4, 8])]
    attention = section.integers("attention_resolutions")
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
            attended=[2**level in attention for level in range(len(widths))],
            scale_shift=section.switch("use_scale_shift_norm", False),
        ),
    }


def _vq_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    parts = settings.section(f"{_VQ}ddconfig.")
    size, width = parts.integer("resolution"), parts.integer("ch")
    multipliers = parts.integers("ch_mult")
    attention = parts.integers("attn_resolutions", [])
    attends = [size >> level in attention for level in range(len(multipliers))]
    parts.expect("double_z", False, default=False)
    return {
        "sample_size": size,
        "in_channels": parts.integer("in_channels"),
        "out_channels": parts.integer("out_ch"),
        "block_out_channels": [multiplier * width for multiplier in multipliers],
        "layers_per_block": parts.integer("num_res_blocks"),
        "down_block_types": ["AttnDownEncoderBlock2D" if attend else "DownEncoderBlock2D" for attend in attends],
        "up_block_types": ["AttnUpDecoderBlock2D" if attend else "UpDecoderBlock2D" for attend in reversed(attends)],
        "latent_channels": parts.integer("z_channels"),
        "vq_embed_dim": settings.integer(f"{_VQ}embed_dim"),
        "num_vq_embeddings": settings.integer(f"{_VQ}n_embed"),
        **_VQ_FIXED,
        "scaling_factor": _scaling_factor(settings, tensors),
    }


def _scaling_factor(settings: Settings, tensors: Tensors) -> float:
    """Latents are multiplied by it: measured in training and kept in the checkpoint, or given, or 1."""
    if "scale_factor" in tensors and tensors["scale_factor"].size == 1:
        return float(tensors["scale_factor"].astype("float32").read().reshape(()))
    return settings.number(f"{_MODEL}scale_factor", 1.0)


def _scheduler(settings: Settings) -> tuple[str, dict[str, Any]]:
    """The original samples with DDIM; it takes the steps 1, 1 + n, ... and ends at the first alpha, not at 1."""
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
