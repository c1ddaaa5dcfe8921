"""Stable Diffusion 1.x 与 ControlNet 的小模型。"""

from pathlib import Path

from ppdiffusers import ControlNetModel, StableDiffusionControlNetPipeline
from tiny import stable_diffusion


def _components() -> dict:
    """基础模型的组件和 ControlNet；控制图与 VAE 相同，8 倍下采样。"""
    components = stable_diffusion.components()
    controlnet = ControlNetModel.from_unet(components["unet"], conditioning_embedding_out_channels=(4, 8, 8, 16))
    return {**components, "controlnet": controlnet}


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录；ControlNet 位于子目录 controlnet。"""
    StableDiffusionControlNetPipeline(**_components()).save_pretrained(folder)
    return folder


def make_base_and_controlnet(folder: Path) -> tuple[Path, Path]:
    """将基础模型和 ControlNet 保存到 `folder` 的子目录 base 和 controlnet，返回这两个目录。"""
    _components()["controlnet"].save_pretrained(folder / "controlnet")
    return stable_diffusion.make(folder / "base"), folder / "controlnet"
