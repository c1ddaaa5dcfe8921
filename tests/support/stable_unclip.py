"""Tiny Stable unCLIP checkpoints with random weights, saved by diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.pipelines.stable_diffusion import StableUnCLIPImageNormalizer

from tests.support.checkpoints import (
    scheduler_named,
    tiny_feature_extractor,
    tiny_text_encoder,
    tiny_tokenizer,
    tiny_unet,
    tiny_vae,
)
from tests.support.parity import randomize
from tests.support.unclip import PRIOR, WIDTH, calmed_prior, tiny_clip, tiny_image_encoder


def tiny_normalizer() -> StableUnCLIPImageNormalizer:
    normalizer = randomize(StableUnCLIPImageNormalizer(WIDTH), 6)
    with torch.no_grad():
        normalizer.std.abs_().add_(0.5)
    return normalizer


def _shared_components(folder: Path) -> dict[str, Any]:
    """Stable Diffusion 2 with a UNet that reads an image embedding and the embedding of its noise level."""
    tokenizer = tiny_tokenizer(folder / "vocabulary", "!")
    config = {name: value for name, value in tiny_unet("sd2").config.items() if not name.startswith("_")}
    labels = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2 * WIDTH}
    return {
        "image_normalizer": tiny_normalizer(),
        "image_noising_scheduler": diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "tokenizer": tokenizer,
        "text_encoder": tiny_text_encoder(len(tokenizer), "sd2", seed=2),
        "unet": randomize(diffusers.UNet2DConditionModel(**{**config, **labels}), 3),
        "scheduler": scheduler_named("DDIMScheduler", "sd2"),
        "vae": tiny_vae(4),
    }


def tiny_stable_unclip(folder: Path) -> Path:
    """Text to image: `stable-unclip` in the given folder."""
    prior_scheduler = diffusers.DDPMScheduler(
        variance_type="fixed_small_log",
        prediction_type="sample",
        clip_sample_range=5.0,
        beta_schedule="squaredcos_cap_v2",
    )
    tokenizer = tiny_tokenizer(folder / "prior vocabulary")
    diffusers.StableUnCLIPPipeline(
        prior_tokenizer=tokenizer,
        prior_text_encoder=tiny_clip(len(tokenizer)),
        prior=calmed_prior(randomize(diffusers.PriorTransformer(**PRIOR))),
        prior_scheduler=prior_scheduler,
        **_shared_components(folder),
    ).save_pretrained(folder / "stable-unclip")
    return folder / "stable-unclip"


def tiny_stable_unclip_img2img(folder: Path) -> Path:
    """Image variation: `stable-unclip-img2img` in the given folder."""
    diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=tiny_feature_extractor(), image_encoder=tiny_image_encoder(), **_shared_components(folder)
    ).save_pretrained(folder / "stable-unclip-img2img")
    return folder / "stable-unclip-img2img"
