"""Tiny Latent Diffusion checkpoints with random weights, saved by diffusers."""

from __future__ import annotations

from pathlib import Path

import diffusers
from diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion import LDMBertConfig, LDMBertModel

from tests.support.bert import tiny_bert_tokenizer
from tests.support.parity import randomize


def tiny_ldmbert(vocab_size: int, head_dim: int = 8) -> LDMBertModel:
    """Two layers of width 32; with `head_dim=8` the projections of attention are square."""
    config = LDMBertConfig(
        vocab_size=vocab_size,
        max_position_embeddings=77,
        encoder_layers=2,
        encoder_ffn_dim=48,
        encoder_attention_heads=4,
        head_dim=head_dim,
        d_model=32,
    )
    return randomize(LDMBertModel(config))


def _scheduler() -> diffusers.DDIMScheduler:
    return diffusers.DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )


def tiny_latent_diffusion(tmp_path: Path) -> Path:
    """A text-to-image checkpoint with an autoencoder of four levels, as in the original."""
    tokenizer = tiny_bert_tokenizer(tmp_path / "vocabulary", model_max_length=77)
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=4,
    )
    pipeline = diffusers.LDMTextToImagePipeline(
        vqvae=randomize(vae),
        bert=tiny_ldmbert(len(tokenizer)),
        tokenizer=tokenizer,
        unet=randomize(unet),
        scheduler=_scheduler(),
    )
    pipeline.save_pretrained(tmp_path / "ldm")
    return tmp_path / "ldm"


def tiny_super_resolution(tmp_path: Path) -> Path:
    """A 4x super-resolution checkpoint: 3 + 3 channels, a codebook."""
    vqvae = diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        num_vq_embeddings=12,
        vq_embed_dim=3,
    )
    unet = diffusers.UNet2DModel(
        sample_size=32,
        in_channels=6,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )
    pipeline = diffusers.LDMSuperResolutionPipeline(
        vqvae=randomize(vqvae), unet=randomize(unet), scheduler=_scheduler()
    )
    pipeline.save_pretrained(tmp_path / "ldm-sr")
    return tmp_path / "ldm-sr"
