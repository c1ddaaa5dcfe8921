"""Stable Diffusion 图像变体的小模型：UNet 的条件为 CLIP 图像嵌入。"""

from pathlib import Path

from ppdiffusers import PNDMScheduler, StableDiffusionImageVariationPipeline
from tiny import parts
from tiny.stable_diffusion import NOISE_SCHEDULE


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    schedule = {key: value for key, value in NOISE_SCHEDULE.items() if key != "clip_sample"}
    StableDiffusionImageVariationPipeline(
        vae=parts.vae(),
        image_encoder=parts.image_encoder(),
        unet=parts.unet(),
        scheduler=PNDMScheduler(skip_prk_steps=True, **schedule),
        safety_checker=None,
        feature_extractor=parts.feature_extractor(),
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder
