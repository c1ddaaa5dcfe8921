"""Stable Diffusion 1.x 的小模型。"""

from pathlib import Path

from ppdiffusers import DDIMScheduler, StableDiffusionPipeline
from tiny import parts

# 发布的 SD 1.x 的噪声调度
NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def components(**unet_settings) -> dict:
    """创建全部组件；`unet_settings` 修改 UNet 的配置，例如图像修复的 `in_channels=9`。"""
    parts.seed()
    vocabulary = parts.tokenizer()
    return {
        "vae": parts.vae(),
        "text_encoder": parts.text_encoder(vocabulary),
        "tokenizer": vocabulary,
        "unet": parts.unet(**unet_settings),
        "scheduler": DDIMScheduler(**NOISE_SCHEDULE),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def make(folder: Path, **unet_settings) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    StableDiffusionPipeline(**components(**unet_settings)).save_pretrained(folder)
    return folder
