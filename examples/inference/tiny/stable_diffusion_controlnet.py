"""Stable Diffusion 1.x 与 ControlNet 的小模型。"""

from pathlib import Path

from ppdiffusers import ControlNetModel, StableDiffusionControlNetPipeline
from tiny import stable_diffusion


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录；ControlNet 位于子目录 controlnet。"""
    components = stable_diffusion.components()
    # 控制图与 VAE 相同，8 倍下采样
    controlnet = ControlNetModel.from_unet(components["unet"], conditioning_embedding_out_channels=(4, 8, 8, 16))
    StableDiffusionControlNetPipeline(**components, controlnet=controlnet).save_pretrained(folder)
    return folder
