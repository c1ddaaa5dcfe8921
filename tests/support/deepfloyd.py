"""Tiny DeepFloyd IF checkpoints with random weights, saved by diffusers: a first and a second stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.deepfloyd_if.safety_checker import IFSafetyChecker
from diffusers.pipelines.deepfloyd_if.watermark import IFWatermarker

from tests.support.checkpoints import tiny_feature_extractor
from tests.support.parity import randomize, rng_for
from tests.support.t5 import SETTINGS, tiny_t5, tiny_t5_tokenizer
from tests.support.unconditional import calmed

SMALL, LARGE = 16, 32
WIDTH = SETTINGS["d_model"]  # of the embeddings of prompts
# scheduler/scheduler_config.json of DeepFloyd/IF-I-XL-v1.0, and image_noising_scheduler/ of DeepFloyd/IF-II-L-v1.0
SCHEDULER = {
    "beta_schedule": "squaredcos_cap_v2",
    "clip_sample": True,
    "dynamic_thresholding_ratio": 0.95,
    "sample_max_value": 1.5,
    "thresholding": True,
    "variance_type": "learned_range",
}
NOISING_SCHEDULER = {"beta_schedule": "squaredcos_cap_v2", "clip_sample": True, "variance_type": "fixed_small"}
# unet/config.json of DeepFloyd/IF-I-XL-v1.0, with fewer levels and channels
UNET = {
    "sample_size": SMALL,
    "in_channels": 3,
    "out_channels": 6,
    "act_fn": "gelu",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "attention_head_dim": [8, 16],
    "block_out_channels": (16, 32),
    "cross_attention_dim": 96,  # three channels in a group: the norm of one, over equal padding, is ill-conditioned
    "cross_attention_norm": "group_norm",
    "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
    "encoder_hid_dim": WIDTH,
    "encoder_hid_dim_type": "text_proj",
    "layers_per_block": 1,
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "norm_num_groups": 8,
    "resnet_time_scale_shift": "scale_shift",
    "time_embedding_act_fn": "gelu",
    "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
}
# unet/config.json of DeepFloyd/IF-II-L-v1.0, with fewer levels and channels
SUPER_RESOLUTION_UNET = {
    **UNET,
    "sample_size": LARGE,
    "in_channels": 6,
    "class_embed_type": "timestep",
    "layers_per_block": (1, 2),
    "mid_block_only_cross_attention": True,
    "only_cross_attention": (False, True),
    "resnet_out_scale_factor": 1.414,
    "resnet_skip_time_act": True,
}


def tiny_if_unet(seed: int = 0, **settings: Any) -> torch.nn.Module:
    return calmed(randomize(diffusers.UNet2DConditionModel(**{**UNET, **settings}), seed))


def tiny_if_safety_checker(nsfw: float = -2.0, watermark: float = -2.0) -> IFSafetyChecker:
    """A safety checker whose scores are near the given biases; images are flagged above 0.5."""
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 24,
    }
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
    checker = randomize(
        IFSafetyChecker(transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=24))
    )
    with torch.no_grad():
        for head, bias in ((checker.p_head, nsfw), (checker.w_head, watermark)):
            head.weight.mul_(0.1)
            head.bias.fill_(bias)
    return checker


def tiny_watermarker() -> IFWatermarker:
    """A watermark of random colours whose opacity varies."""
    watermarker = IFWatermarker()
    pixels = rng_for("watermark").integers(0, 256, (62, 62, 4))
    watermarker.watermark_image.copy_(torch.from_numpy(pixels).float())
    return watermarker


def _shared(folder: Path, safe: bool) -> dict[str, Any]:
    return {
        "tokenizer": tiny_t5_tokenizer(folder / "vocabulary"),
        "text_encoder": tiny_t5(),
        "scheduler": diffusers.DDPMScheduler(**SCHEDULER),
        "safety_checker": tiny_if_safety_checker() if safe else None,
        "feature_extractor": tiny_feature_extractor() if safe else None,
        "watermarker": tiny_watermarker() if safe else None,
        "requires_safety_checker": safe,
    }


def tiny_if(folder: Path, safe: bool = True) -> Path:
    """The first stage: `if-1` in the given folder.

    Args:
        safe: with a safety checker and a watermark.
    """
    diffusers.IFPipeline(unet=tiny_if_unet(), **_shared(folder, safe)).save_pretrained(folder / "if-1")
    return folder / "if-1"


def tiny_if_super_resolution(folder: Path, safe: bool = True) -> Path:
    """The second stage: `if-2` in the given folder."""
    diffusers.IFSuperResolutionPipeline(
        unet=tiny_if_unet(seed=1, **SUPER_RESOLUTION_UNET),
        image_noising_scheduler=diffusers.DDPMScheduler(**NOISING_SCHEDULER),
        **_shared(folder, safe),
    ).save_pretrained(folder / "if-2")
    return folder / "if-2"
