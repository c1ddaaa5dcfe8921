"""Tiny checkpoints of the Stable Diffusion 2 pipelines with random weights, saved by diffusers."""

from __future__ import annotations

from pathlib import Path

import diffusers
import torch
import transformers

from tests.support.checkpoints import scheduler_named, tiny_text_encoder, tiny_tokenizer, tiny_vae
from tests.support.parity import randomize


def _vae(levels: int, **settings: object) -> diffusers.AutoencoderKL:
    """An autoencoder with a scale factor of `2 ** (levels - 1)`."""
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
    """As `stabilityai/stable-diffusion-x4-upscaler`: 4 + 3 input channels, 1000 classes, cross attention only in the
    first levels, a separate DDPM scheduler for the low-resolution image, v-prediction."""
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


def tiny_depth_estimator() -> transformers.DPTForDepthEstimation:
    """Hybrid, as the original: three stages of BiT, a transformer of four layers; images of 96 x 96."""
    backbone = {
        "global_padding": "same",
        "layer_type": "bottleneck",
        "depths": [1, 1, 2],
        "hidden_sizes": [16, 24, 32],
        "out_features": ["stage1", "stage2", "stage3"],
        "embedding_dynamic_padding": True,
        "embedding_size": 8,
        "num_groups": 8,
    }
    config = transformers.DPTConfig(
        is_hybrid=True,
        backbone_config=backbone,
        backbone_featmap_shape=[1, 32, 6, 6],
        image_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[16, 24, 32, 32],
        reassemble_factors=[1, 1, 1, 0.5],
        fusion_hidden_size=16,
    )
    estimator = randomize(transformers.DPTForDepthEstimation(config), 5)
    torch.nn.init.constant_(estimator.head.head[4].bias, 3.0)  # keeps the last ReLU away from zero
    return estimator


def tiny_depth2img(tmp_path: Path) -> Path:
    """As `stabilityai/stable-diffusion-2-depth`: 4 + 1 input channels."""
    tokenizer = tiny_tokenizer(tmp_path / "vocabulary", "!")
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=5,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8,
        cross_attention_dim=32,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
    )
    pipeline = diffusers.StableDiffusionDepth2ImgPipeline(
        vae=tiny_vae(),
        text_encoder=tiny_text_encoder(len(tokenizer), "sd2", seed=2),
        tokenizer=tokenizer,
        unet=randomize(unet, 3),
        scheduler=scheduler_named("PNDMScheduler"),
        depth_estimator=tiny_depth_estimator(),
        feature_extractor=transformers.DPTImageProcessor(size=96, resample=2),
    )
    pipeline.save_pretrained(tmp_path / "tiny-depth")
    return tmp_path / "tiny-depth"


def tiny_latent_upscaler(tmp_path: Path) -> Path:
    """As `stabilityai/sd-x2-latent-upscaler`: a UNet of k-diffusion blocks with an unused channel, 128 noise features
    and the pooled prompt as condition of the time embedding, x_0 prediction."""
    tokenizer = tiny_tokenizer(tmp_path / "vocabulary")
    text_encoder = tiny_text_encoder(len(tokenizer), seed=2)
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=5,
        layers_per_block=2,
        act_fn="gelu",
        block_out_channels=(32, 32, 64, 64),
        down_block_types=("KDownBlock2D", *["KCrossAttnDownBlock2D"] * 3),
        mid_block_type=None,
        up_block_types=(*["KCrossAttnUpBlock2D"] * 3, "KUpBlock2D"),
        norm_num_groups=None,
        cross_attention_dim=32,
        attention_head_dim=16,
        conv_in_kernel=1,
        conv_out_kernel=1,
        flip_sin_to_cos=False,
        resnet_time_scale_shift="scale_shift",
        time_cond_proj_dim=128 + text_encoder.config.hidden_size,
        time_embedding_type="fourier",
        timestep_post_act="gelu",
    )
    published = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    pipeline = diffusers.StableDiffusionLatentUpscalePipeline(
        vae=tiny_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=randomize(unet, 3),
        scheduler=diffusers.EulerDiscreteScheduler(**published, prediction_type="sample"),
    )
    pipeline.save_pretrained(tmp_path / "tiny-latent-upscaler")
    return tmp_path / "tiny-latent-upscaler"
