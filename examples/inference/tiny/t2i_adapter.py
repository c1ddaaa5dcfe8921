"""T2I-Adapter 的小模型：基础模型为 Stable Diffusion 1.x 或 Stable Diffusion XL。"""

from pathlib import Path

from ppdiffusers import StableDiffusionAdapterPipeline, T2IAdapter
from tiny import depth2img, stable_diffusion, stable_diffusion_xl


def _adapter() -> T2IAdapter:
    """各级通道数与小模型的 UNet 相同；控制图与 VAE 相同，8 倍下采样。"""
    return T2IAdapter(channels=[16, 32], num_res_blocks=1, downscale_factor=8)


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录；T2I-Adapter 位于子目录 adapter。"""
    StableDiffusionAdapterPipeline(**stable_diffusion.components(), adapter=_adapter()).save_pretrained(folder)
    return folder


def make_base_and_adapter(folder: Path) -> tuple[Path, Path]:
    """将基础模型和 T2I-Adapter 保存到 `folder` 的子目录 base 和 adapter，返回这两个目录。"""
    base = stable_diffusion.make(folder / "base")
    _adapter().save_pretrained(folder / "adapter")
    return base, folder / "adapter"


def make_xl_parts(folder: Path) -> tuple[Path, Path, Path]:
    """将 SDXL 基础模型、T2I-Adapter 和深度模型保存到 `folder` 的子目录 base、adapter 和 depth，返回这三个目录。"""
    base = stable_diffusion_xl.make(folder / "base")
    _adapter().save_pretrained(folder / "adapter")
    depth2img.depth_estimator().save_pretrained(folder / "depth")
    depth2img.image_processor().save_pretrained(folder / "depth")
    return base, folder / "adapter", folder / "depth"
