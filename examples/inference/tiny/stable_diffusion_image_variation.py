"""Stable Diffusion 图像变体的小模型：UNet 看的是图片的 CLIP 向量，不是文本。"""

from pathlib import Path

from ppdiffusers import PNDMScheduler, StableDiffusionImageVariationPipeline
from tiny import parts
from tiny.stable_diffusion import NOISE_SCHEDULE


def make(folder: Path) -> Path:
    """把小模型存到 `folder`，返回它。"""
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
