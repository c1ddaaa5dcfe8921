"""Tiny folders of Stable Diffusion 2's relatives with random weights, saved by diffusers itself."""

from __future__ import annotations

from pathlib import Path

import diffusers

from tests.support.checkpoints import scheduler_named, tiny_text_encoder, tiny_tokenizer
from tests.support.parity import randomize


def _vae(levels: int, **settings: object) -> diffusers.AutoencoderKL:
    """Makes `2 ** (levels - 1)` pixels of each latent position, along each side."""
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8, 8, 16)[-levels:],
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        **settings,
    )
    return randomize(vae, 1)


def tiny_upscaler(tmp_path: Path) -> Path:
    """Of `stabilityai/stable-diffusion-x4-upscaler`: 4 + 3 input channels, 1000 classes, attention to text alone in
    the first levels, a DDPM scheduler of its own for the small picture, v-prediction."""
    tokenizer = tiny_tokenizer(tmp_path / "vocabulary", "!")
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=7,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=4,
        only_cross_attention=(True, True, False),
        num_class_embeds=1000,
        use_linear_projection=True,
    )
    pipeline = diffusers.StableDiffusionUpscalePipeline(
        vae=_vae(3, scaling_factor=0.08333),
        text_encoder=tiny_text_encoder(len(tokenizer), "sd2", seed=2),
        tokenizer=tokenizer,
        unet=randomize(unet, 3),
        low_res_scheduler=diffusers.DDPMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear"),
        scheduler=scheduler_named("DDIMScheduler", "sd2"),
        max_noise_level=350,
    )
    pipeline.save_pretrained(tmp_path / "tiny-upscaler")
    return tmp_path / "tiny-upscaler"
