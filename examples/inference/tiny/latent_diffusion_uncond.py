"""无条件 Latent Diffusion 的小模型：VQ 自编码器，4 倍下采样。"""

from pathlib import Path

from ppdiffusers import LDMPipeline
from tiny import parts
from tiny.ddpm import unet
from tiny.latent_diffusion import scheduler


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    LDMPipeline(vqvae=parts.vq_model(), unet=unet(sample_size=16), scheduler=scheduler()).save_pretrained(folder)
    return folder
