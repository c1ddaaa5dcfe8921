"""InstructPix2Pix 的小模型：UNet 的输入为带噪潜变量和图像潜变量，共 8 个通道。"""

from pathlib import Path

from ppdiffusers import StableDiffusionInstructPix2PixPipeline
from tiny import stable_diffusion


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    components = stable_diffusion.components(in_channels=8)
    StableDiffusionInstructPix2PixPipeline(**components).save_pretrained(folder)
    return folder
