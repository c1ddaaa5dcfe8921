"""Stable Diffusion 1.x 与 ControlNet 的小模型。"""

from pathlib import Path

from ppdiffusers import ControlNetModel, StableDiffusionPipeline
from tiny import stable_diffusion


def make(folder: Path) -> tuple[Path, Path]:
    """将基础模型和 ControlNet 保存到 `folder` 的子目录 base 和 controlnet，返回这两个目录。"""
    components = stable_diffusion.components()
    # 控制图与 VAE 相同，8 倍下采样
    controlnet = ControlNetModel.from_unet(components["unet"], conditioning_embedding_out_channels=(4, 8, 8, 16))
    controlnet.save_pretrained(folder / "controlnet")
    StableDiffusionPipeline(**components).save_pretrained(folder / "base")
    return folder / "base", folder / "controlnet"
