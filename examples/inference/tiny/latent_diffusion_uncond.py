"""无条件潜扩散的小模型：VQ 自编码器，边长缩小到四分之一。"""

from pathlib import Path

from ppdiffusers import LDMPipeline
from tiny import parts
from tiny.ddpm import unet
from tiny.latent_diffusion import scheduler


def make(folder: Path) -> Path:
    """把小模型存到 `folder`，返回它。"""
    parts.seed()
    LDMPipeline(vqvae=parts.vq_model(), unet=unet(sample_size=16), scheduler=scheduler()).save_pretrained(folder)
    return folder
