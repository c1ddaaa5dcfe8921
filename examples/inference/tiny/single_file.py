"""Stable Diffusion 1.x 的小模型，保存为单个文件。"""

from pathlib import Path

from ppdiffusers import StableDiffusionPipeline
from tiny import stable_diffusion


def save(folder: Path) -> tuple[Path, Path]:
    """保存权重文件以及含配置和分词器的目录，返回这两个路径；小模型没有内置配置。"""
    pipe = StableDiffusionPipeline(**stable_diffusion.components())
    pipe.save_pretrained(folder / "config")
    pipe.save_single_file(folder / "model.safetensors")
    return folder / "model.safetensors", folder / "config"
