"""InstructPix2Pix 的小模型：UNet 同时看加噪的图和要改的图，共 8 通道。"""

from pathlib import Path

from ppdiffusers import StableDiffusionInstructPix2PixPipeline
from tiny import stable_diffusion


def make(folder: Path) -> Path:
    """把小模型存到 `folder`，返回它。"""
    components = stable_diffusion.components(in_channels=8)
    StableDiffusionInstructPix2PixPipeline(**components).save_pretrained(folder)
    return folder
