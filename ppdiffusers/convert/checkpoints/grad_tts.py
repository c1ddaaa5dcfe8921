"""Grad-TTS (github.com/huawei-noah/Speech-Backbones): a state dict, and the values of its `params.py`."""

from __future__ import annotations

from typing import Any

from ppdiffusers.convert.checkpoints.base import (
    Layout,
    Network,
    OriginalModel,
    Tensors,
    count_indices,
    shape_of,
    strip_data_parallel,
)
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.grad_tts import text_encoder_rules, unet_rules

ENCODER, UNET, SPEAKERS = "encoder.", "decoder.estimator.", "spk_emb.weight"


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """Read the widths from shapes; settings that leave no trace in them have the values of the LJSpeech model."""
    tensors = strip_data_parallel(tensors)
    text_encoder = {name: tensor for name, tensor in tensors.items() if name.startswith(ENCODER)}
    unet = {name: tensor for name, tensor in tensors.items() if name not in text_encoder}
    encoder_config, unet_config = _text_encoder_config(settings, tensors), _unet_config(settings, unet)
    unet_config["n_feats"] = encoder_config["num_mel_bins"]
    scheduler = {"beta_min": settings.number("beta_min", 0.05), "beta_max": settings.number("beta_max", 20.0)}
    settings.raise_problems(sections=[])  # the file also has the settings of training
    networks = (
        Network(
            *("text_encoder", "GradTTSTextEncoder", encoder_config),
            *(text_encoder_rules(encoder_config), text_encoder),
        ),
        Network("unet", "UNetGradTTSModel", unet_config, unet_rules(unet_config), unet),
    )
    return OriginalModel("GradTTSPipeline", networks, ("GradTTSScheduler", scheduler))


def layouts(settings: Settings) -> dict[str, Layout]:
    """Two networks in one state dict; the rules contain their prefixes."""
    return {
        "text_encoder": Layout("GradTTSTextEncoder", text_encoder_rules, {}),
        "unet": Layout("UNetGradTTSModel", unet_rules, {}),
    }


def _text_encoder_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    attention = f"{ENCODER}encoder.attn_layers."
    symbols, channels = shape_of(tensors, f"{ENCODER}emb.weight")
    _, distances, head_channels = shape_of(tensors, f"{attention}0.emb_rel_k")
    filter_channels, _, kernel_size = shape_of(tensors, f"{ENCODER}encoder.ffn_layers.0.conv_1.weight")
    return {
        "vocab_size": symbols,
        "num_mel_bins": shape_of(tensors, f"{ENCODER}proj_m.weight")[0],
        "hidden_channels": channels,
        "filter_channels": filter_channels,
        "duration_channels": shape_of(tensors, f"{ENCODER}proj_w.conv_1.weight")[0],
        "num_heads": channels // head_channels,
        "num_layers": count_indices(tensors, attention),
        "kernel_size": kernel_size,
        "dropout": settings.number("enc_dropout", 0.1),
        "window_size": distances // 2,
        "sample_rate": settings.integer("sample_rate", 22050),
        "hop_size": settings.integer("hop_length", 256),
    }


def _unet_config(settings: Settings, tensors: Tensors) -> dict[str, Any]:
    dim = shape_of(tensors, f"{UNET}final_conv.weight")[1]
    levels = count_indices(tensors, f"{UNET}downs.")
    widths = [shape_of(tensors, f"{UNET}downs.{n}.0.mlp.1.weight")[0] for n in range(levels)]
    speakers, width = shape_of(tensors, SPEAKERS) if SPEAKERS in tensors else (1, settings.integer("spk_emb_dim", 64))
    return {
        "dim": dim,
        "dim_mults": [width // dim for width in widths],
        "groups": 8,
        "n_spks": speakers,
        "spk_emb_dim": width,
        "pe_scale": settings.number("pe_scale", 1000),
    }
