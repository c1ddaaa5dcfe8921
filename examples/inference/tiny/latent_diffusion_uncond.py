"""无条件潜扩散的小模型：VQ 自编码器，边长缩小到四分之一。"""

from pathlib import Path

from ppdiffusers import DDIMScheduler, LDMPipeline, VQModel
from tiny import parts
from tiny.ddpm import unet


def make(folder: Path) -> Path:
    """把小模型存到 `folder`，返回它。"""
    parts.seed()
    vqvae = VQModel(
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=[8, 16, 16],
        norm_num_groups=4,
        num_vq_embeddings=64,
        sample_size=64,
    )
    # 已发布的 LDM 所用的噪声表
    scheduler = DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False)
    LDMPipeline(vqvae=vqvae, unet=unet(sample_size=16), scheduler=scheduler).save_pretrained(folder)
    return folder
