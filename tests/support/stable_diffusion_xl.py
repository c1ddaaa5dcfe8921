"""Tiny Stable Diffusion XL checkpoints with random weights, saved by diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from tests.support.checkpoints import tiny_text_encoder, tiny_tokenizer, tiny_vae
from tests.support.parity import randomize

WIDTHS = (32, 24)  # of the two text encoders
POOLED = 20
TIME_WIDTH = 8  # channels of each size


def tiny_text_encoder_2(vocab_size: int, seed: int = 0) -> transformers.CLIPTextModelWithProjection:
    """Two layers, of another width than the first text encoder, with a projection that is not square."""
    config = transformers.CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=WIDTHS[1],
        intermediate_size=40,
        projection_dim=POOLED,
        num_hidden_layers=4,
        num_attention_heads=3,
        max_position_embeddings=77,
        hidden_act="gelu",
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return randomize(transformers.CLIPTextModelWithProjection(config), seed)


def tiny_xl_unet(
    seed: int = 0, in_channels: int = 4, refiner: bool = False, **settings: Any
) -> diffusers.UNet2DConditionModel:
    """Three levels, the first without attention, with one and two transformer layers in the others."""
    unet = diffusers.UNet2DConditionModel(
        **{
            "sample_size": 16,
            "in_channels": in_channels,
            "out_channels": 4,
            "layers_per_block": 1,
            "block_out_channels": (16, 32, 48),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": [1, 1, 2],
            "attention_head_dim": [2, 4, 6],
            "use_linear_projection": True,
            "norm_num_groups": 8,
            "cross_attention_dim": WIDTHS[1] if refiner else sum(WIDTHS),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": TIME_WIDTH,
            "projection_class_embeddings_input_dim": POOLED + TIME_WIDTH * (5 if refiner else 6),
            **settings,
        }
    )
    return randomize(unet, seed)


def tiny_scheduler() -> diffusers.EulerDiscreteScheduler:
    """With the settings of SDXL checkpoints."""
    return diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    )


def tiny_components(folder: Path, *, refiner: bool = False, seed: int = 0, **unet: Any) -> dict[str, Any]:
    """Components of the base, or of the refiner, which has the second text encoder only."""
    tokenizer, tokenizer_2 = tiny_tokenizer(folder / "first"), tiny_tokenizer(folder / "second", "!")
    return {
        "vae": tiny_vae(seed),
        "text_encoder": None if refiner else tiny_text_encoder(len(tokenizer), seed=seed + 1),
        "text_encoder_2": tiny_text_encoder_2(len(tokenizer_2), seed + 2),
        "tokenizer": None if refiner else tokenizer,
        "tokenizer_2": tokenizer_2,
        "unet": tiny_xl_unet(seed + 3, refiner=refiner, **unet),
        "scheduler": tiny_scheduler(),
    }


def tiny_stable_diffusion_xl(
    tmp_path: Path, pipeline_class: type = diffusers.StableDiffusionXLPipeline, **settings: Any
) -> Path:
    """Save a tiny checkpoint for a class of diffusers under `tmp_path`, and return its folder.

    Args:
        settings: those of `tiny_components`; others are settings of the pipeline.
    """
    own = {key: settings.pop(key) for key in list(settings) if key in _OF_PIPELINES}
    folder = Path(tmp_path) / pipeline_class.__name__
    pipeline_class(**tiny_components(Path(tmp_path) / "vocabulary", **settings), **own).save_pretrained(folder)
    return folder


_OF_PIPELINES = ("requires_aesthetics_score", "force_zeros_for_empty_prompt", "is_cosxl_edit")


def tiny_xl_controlnet(seed: int = 20, **changes: Any) -> diffusers.ControlNetModel:
    """A ControlNet for `tiny_xl_unet`, with random weights in its zero convolutions too."""
    return _strong(randomize(diffusers.ControlNetModel(**{**_control_settings(), **changes}), seed))


def tiny_xl_controlnet_union(seed: int = 30, **changes: Any) -> diffusers.ControlNetUnionModel:
    """A ControlNet for five control types, and for `tiny_xl_unet`."""
    types = {"num_control_type": 5, "num_trans_channel": 16, "num_trans_head": 4, "num_proj_channel": 16}
    return _strong(randomize(diffusers.ControlNetUnionModel(**{**_control_settings(), **types, **changes}), seed))


def tiny_xl_controlnet_pipeline(
    tmp_path: Path, pipeline_class: type, controlnet: Any, *, refiner: bool = False, **settings: Any
) -> Path:
    """Save a tiny checkpoint with a ControlNet, or a list, for a class of diffusers; return its folder.

    Args:
        settings: those of `tiny_components`; others are settings of the pipeline.
    """
    own = {key: settings.pop(key) for key in list(settings) if key in _OF_PIPELINES}
    folder = Path(tmp_path) / pipeline_class.__name__
    parts = tiny_components(Path(tmp_path) / "vocabulary", refiner=refiner, **settings)
    pipeline_class(**parts, controlnet=controlnet, **own).save_pretrained(folder)
    return folder


def _control_settings() -> dict[str, Any]:
    """Settings of `tiny_xl_unet` that a ControlNet for it shares."""
    config = tiny_xl_unet().config
    shared = ("block_out_channels", "down_block_types", "layers_per_block", "transformer_layers_per_block",
              "attention_head_dim", "use_linear_projection", "norm_num_groups", "cross_attention_dim",
              "addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim")  # fmt: skip
    return {**{key: config[key] for key in shared}, "conditioning_embedding_out_channels": (4, 6)}


def _strong(network: Any) -> Any:
    """Other control images give clearly other residuals."""
    with torch.no_grad():
        network.controlnet_cond_embedding.conv_out.weight.mul_(30)
    return network
