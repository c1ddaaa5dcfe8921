"""A tiny Versatile Diffusion checkpoint, saved by diffusers, and a fix of its dual UNet."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel

import ppdiffusers
from tests.pipelines.support import load_classes, make_image
from tests.support.checkpoints import (
    tiny_feature_extractor,
    tiny_tokenizer,
    tiny_vae,
)
from tests.support.parity import noise, randomize

# The entry that diffusers can load, which is neither the original one nor the one that it writes.
TEXT_UNET_ENTRY = [UNetFlatConditionModel.__module__, "UNetFlatConditionModel"]
TEXT, IMAGE, DUAL = (f"VersatileDiffusion{task}Pipeline" for task in ("TextToImage", "ImageVariation", "DualGuided"))
IMAGES = [make_image(40, 36), make_image(33, 50, seed=1)]
# weak guidance does not amplify rounding; images of 10 000 values, so that one in 1000 is a number
COMMON = {"num_inference_steps": 3, "guidance_scale": 2.0, "output_type": "np"}
NOISES = {"latents": noise((2, 4, 24, 20)), "height": 48, "width": 40}
WIDTH = 32  # of the joint embedding space of prompts and images
PLAN = {
    "layers_per_block": 1,
    "block_out_channels": (32, 64),
    "norm_num_groups": 8,
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 4,
}
FLAT_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlockFlat", "DownBlockFlat"),
    "up_block_types": ("UpBlockFlat", "CrossAttnUpBlockFlat"),
}
IMAGE_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
_TOWER = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "projection_dim": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def tiny_text_unet(seed: int = 0, **config: object) -> UNetFlatConditionModel:
    """Denoises vectors of size 20."""
    settings = {"in_channels": [20, 1, 1], "out_channels": [20, 1, 1], **PLAN, **FLAT_BLOCKS, **config}
    return randomize(UNetFlatConditionModel(**settings), seed)


def tiny_image_unet(seed: int = 0, **config: object) -> diffusers.UNet2DConditionModel:
    return randomize(diffusers.UNet2DConditionModel(sample_size=16, **{**PLAN, **IMAGE_BLOCKS, **config}), seed)


def leave_out_mask_argument(unet: torch.nn.Module) -> torch.nn.Module:
    """The blocks pass `encoder_attention_mask` to their transformers, but the dual transformer of diffusers does not
    accept it and raises a TypeError. Remove the argument for this network."""
    for module in unet.modules():
        if isinstance(module, DualTransformer2DModel):
            module.forward = _without_mask(module.forward)
    return unet


def _without_mask(forward):
    return lambda *args, encoder_attention_mask=None, **kwargs: forward(*args, **kwargs)


def tiny_versatile(folder: Path, seed: int = 0) -> Path:
    """Save a tiny Versatile Diffusion in `folder`, with separate image and text UNets as in the original."""
    tokenizer = tiny_tokenizer(folder / "vocabulary")
    text = transformers.CLIPTextConfig(
        **_TOWER, vocab_size=len(tokenizer), max_position_embeddings=77, bos_token_id=0, eos_token_id=2, pad_token_id=1
    )
    vision = transformers.CLIPVisionConfig(**_TOWER, image_size=32, patch_size=8)
    pipeline = diffusers.VersatileDiffusionPipeline(
        tokenizer=tokenizer,
        image_feature_extractor=tiny_feature_extractor(),
        text_encoder=randomize(transformers.CLIPTextModelWithProjection(text), seed),
        image_encoder=randomize(transformers.CLIPVisionModelWithProjection(vision), seed + 1),
        image_unet=tiny_image_unet(seed + 2),
        text_unet=tiny_text_unet(seed + 3),
        vae=tiny_vae(seed + 4),
        # little noise, so that rounding of random networks is not amplified
        scheduler=diffusers.DDIMScheduler(beta_start=1e-4, beta_end=1e-3, clip_sample=False, steps_offset=1),
    )
    target = folder / "tiny-versatile"
    pipeline.save_pretrained(target)
    index = target / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "text_unet": TEXT_UNET_ENTRY}))
    return target


def load(name: str, folder: Path, **kwargs: object) -> ppdiffusers.DiffusionPipeline:
    """Our pipeline `name`, without progress bars."""
    pipe = getattr(ppdiffusers, name).from_pretrained(folder, **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_both(name: str, folder: Path) -> tuple:
    """The pipeline `name`, ours and that of diffusers."""
    ours, theirs = load_classes(folder, getattr(ppdiffusers, name), getattr(diffusers, name))
    leave_out_mask_argument(theirs.image_unet)
    return ours, theirs
