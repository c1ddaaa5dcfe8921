"""Configurations of our networks from the YAML file of the original repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.single_files.published import Family

_MODEL = "model.params."
_UNET = (f"{_MODEL}unet_config.params.", f"{_MODEL}network_config.params.")
_CONTROLNET = f"{_MODEL}control_stage_config.params."
_VAE = f"{_MODEL}first_stage_config.params.ddconfig."
_SDXL_WIDTHS = (2048, 1280)  # of prompt embeddings, to which sizes are added
_DEFAULT_SCALING = 0.18215


def with_original_config(family: Family, settings: Settings, image_size: int | None = None) -> Family:
    """Return the family with networks and noise schedule of an original configuration.

    Args:
        settings: the YAML file, by dotted names.
        image_size: height and width of generated images; those of the published model by default.

    Raises:
        ConfigError: values are missing or wrong; all of them are listed.
    """
    for component, (class_name, config) in family.components.items():
        if class_name == "UNet2DConditionModel":
            family = _replaced(family, component, _unet(settings, _sample_size(settings, config, image_size)))
        elif class_name == "ControlNetModel":
            family = _replaced(family, component, _controlnet(settings))
        elif class_name == "AutoencoderKL":
            family = family.with_settings(component, **_vae(settings, image_size or config["sample_size"]))
        elif component == "scheduler":
            family = family.with_settings(component, **_scheduler(settings))
    settings.raise_problems()
    return family


def _replaced(family: Family, component: str, config: Mapping[str, Any]) -> Family:
    return replace(family, components={**family.components, component: (family.components[component][0], config)})


def _sample_size(settings: Settings, config: Mapping[str, Any], image_size: int | None) -> int:
    if image_size is None:
        return config["sample_size"]
    return image_size // 2 ** (len(settings.integers(f"{_VAE}ch_mult")) - 1)


def _unet(settings: Settings, sample_size: int) -> dict[str, Any]:
    section = settings.section(_section(settings))
    width = section.integer("model_channels")
    multipliers = section.integers("channel_mult")
    resolutions = section.integers("attention_resolutions")
    attends = [2**level in resolutions for level in range(len(multipliers))]
    heads: int | list[int] | None = section.integer("num_heads", 0) or None
    linear = section.boolean("use_linear_in_transformer", False)
    if linear and heads is None:
        per_head = section.integer("num_head_channels")
        heads = [width // per_head * multiplier for multiplier in multipliers]
    depth = section.integers("transformer_depth", [1])
    contexts = section.integers("context_dim", [0])  # one for each level in XL's refiner
    config = {
        "sample_size": sample_size,
        "in_channels": section.integer("in_channels"),
        "out_channels": section.integer("out_channels"),
        "block_out_channels": [width * multiplier for multiplier in multipliers],
        "layers_per_block": section.integer("num_res_blocks"),
        "down_block_types": ["CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)],
        "cross_attention_dim": contexts[0] or None,
        "attention_head_dim": heads,
        "use_linear_projection": linear,
        "transformer_layers_per_block": depth[0] if len(depth) == 1 else depth,
        **_classes(section, contexts[0]),
    }
    disabled = settings.values.get(f"{_section(settings)}disable_self_attentions")
    return config if disabled is None else {**config, "only_cross_attention": disabled}


def _classes(section: Settings, context: int) -> dict[str, Any]:
    """Return what is added to the time embedding: nothing, a class, or a vector (in XL: sizes and a pooled prompt)."""
    classes = section.text("num_classes", "")
    if classes == "sequential":
        kind = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256}
        if context not in _SDXL_WIDTHS:
            kind = {"class_embed_type": "projection"}
        return {**kind, "projection_class_embeddings_input_dim": section.integer("adm_in_channels")}
    return {"num_class_embeds": int(classes)} if classes.isdecimal() else {}


def _controlnet(settings: Settings) -> dict[str, Any]:
    """A ControlNet is the UNet's first half; its own section has the channels of the control image."""
    unet = _unet(settings, 1)
    dropped = ("sample_size", "out_channels", "up_block_types", "only_cross_attention", "num_class_embeds")
    kept = {name: value for name, value in unet.items() if name not in dropped}
    return {**kept, "conditioning_channels": settings.section(_CONTROLNET).integer("hint_channels")}


def _vae(settings: Settings, sample_size: int) -> dict[str, Any]:
    section = settings.section(_VAE)
    multipliers = section.integers("ch_mult")
    width = section.integer("ch")
    return {
        "sample_size": sample_size,
        "in_channels": section.integer("in_channels"),
        "out_channels": section.integer("out_ch"),
        "down_block_types": ["DownEncoderBlock2D"] * len(multipliers),
        "up_block_types": ["UpDecoderBlock2D"] * len(multipliers),
        "block_out_channels": [width * multiplier for multiplier in multipliers],
        "latent_channels": section.integer("z_channels"),
        "layers_per_block": section.integer("num_res_blocks"),
        "scaling_factor": settings.number(f"{_MODEL}scale_factor", _DEFAULT_SCALING),
    }


def _scheduler(settings: Settings) -> dict[str, Any]:
    """Return noise schedule and prediction type; the file of XL has them in another place."""
    section = settings.section(_MODEL)
    found: dict[str, Any] = {}
    for name, key in (("beta_start", "linear_start"), ("beta_end", "linear_end")):
        if _MODEL + key in settings.values:
            found[name] = section.number(key)
    if _MODEL + "timesteps" in settings.values:
        found["num_train_timesteps"] = section.integer("timesteps")
        kind = section.expect("parameterization", "eps", "v", "x0", default="eps")
        found["prediction_type"] = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}[kind]
    return found


def _section(settings: Settings) -> str:
    """Return the section of the UNet, whose name is another one in XL's file."""
    return next((name for name in _UNET if any(key.startswith(name) for key in settings.values)), _UNET[0])
