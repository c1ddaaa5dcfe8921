"""Tiny unCLIP checkpoints with random weights, saved by diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.pipelines.unclip.text_proj import UnCLIPTextProjModel

from tests.support.checkpoints import tiny_feature_extractor, tiny_tokenizer
from tests.support.parity import randomize
from tests.support.unconditional import calmed

WIDTH = 32  # of the text encoder's states and of CLIP's embeddings: both go through one projection
TOKENS = 20  # channels of the tokens that the decoder attends to
TIME_WIDTH = 4 * 16
SMALL, LARGE = 12, 28

PRIOR = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "num_layers": 2,
    "embedding_dim": WIDTH,
    "num_embeddings": 77,
    "additional_embeddings": 4,
}


def calmed_prior(prior: torch.nn.Module) -> torch.nn.Module:
    """The scale of CLIP's embeddings, so that the decoder's input is neither tiny nor huge."""
    with torch.no_grad():
        prior.clip_std.abs_().add_(0.5)
    return prior


def tiny_decoder() -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(
        sample_size=SMALL,
        in_channels=3,
        out_channels=6,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        norm_num_groups=8,
        cross_attention_dim=TOKENS,
        attention_head_dim=8,
        class_embed_type="identity",
        resnet_time_scale_shift="scale_shift",
    )


def tiny_upscaler(size: int = LARGE) -> diffusers.UNet2DModel:
    return diffusers.UNet2DModel(
        sample_size=size,
        in_channels=6,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(16, 24),
        down_block_types=("ResnetDownsampleBlock2D",) * 2,
        up_block_types=("ResnetUpsampleBlock2D",) * 2,
        norm_num_groups=8,
        add_attention=False,
        resnet_time_scale_shift="scale_shift",
    )


def tiny_clip(vocab_size: int) -> transformers.CLIPTextModelWithProjection:
    config = transformers.CLIPTextConfig(
        vocab_size=vocab_size,
        hidden_size=WIDTH,
        intermediate_size=40,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return randomize(transformers.CLIPTextModelWithProjection(config))


def tiny_image_encoder() -> transformers.CLIPVisionModelWithProjection:
    config = transformers.CLIPVisionConfig(
        hidden_size=24,
        intermediate_size=40,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=32,
        patch_size=8,
    )
    return randomize(transformers.CLIPVisionModelWithProjection(config))


def _shared_components(folder: Path) -> dict[str, Any]:
    tokenizer = tiny_tokenizer(folder / "vocabulary")
    text_proj = UnCLIPTextProjModel(
        clip_extra_context_tokens=3, clip_embeddings_dim=WIDTH, time_embed_dim=TIME_WIDTH, cross_attention_dim=TOKENS
    )
    return {
        "decoder": calmed(randomize(tiny_decoder())),
        "text_encoder": tiny_clip(len(tokenizer)),
        "tokenizer": tokenizer,
        "text_proj": randomize(text_proj),
        "super_res_first": calmed(randomize(tiny_upscaler(), seed=1)),
        "super_res_last": calmed(randomize(tiny_upscaler(), seed=2)),
        "decoder_scheduler": diffusers.UnCLIPScheduler(variance_type="learned_range", prediction_type="epsilon"),
        "super_res_scheduler": diffusers.UnCLIPScheduler(variance_type="fixed_small_log", prediction_type="epsilon"),
    }


def tiny_unclip(folder: Path) -> Path:
    """Text to image: `unclip` in the given folder."""
    prior_scheduler = diffusers.UnCLIPScheduler(
        variance_type="fixed_small_log", prediction_type="sample", clip_sample_range=5.0
    )
    pipeline = diffusers.UnCLIPPipeline(
        prior=calmed_prior(randomize(diffusers.PriorTransformer(**PRIOR))),
        prior_scheduler=prior_scheduler,
        **_shared_components(folder),
    )
    pipeline.save_pretrained(folder / "unclip")
    return folder / "unclip"


def tiny_unclip_variation(folder: Path) -> Path:
    """Image variation: `unclip-variation` in the given folder."""
    pipeline = diffusers.UnCLIPImageVariationPipeline(
        feature_extractor=tiny_feature_extractor(), image_encoder=tiny_image_encoder(), **_shared_components(folder)
    )
    pipeline.save_pretrained(folder / "unclip-variation")
    return folder / "unclip-variation"
