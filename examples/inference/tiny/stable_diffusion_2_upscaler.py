"""Stable Diffusion 2 4 倍超分的小模型：UNet 的输入为潜变量和低分辨率图像（4 + 3 个通道），噪声级别为类别条件。"""

from pathlib import Path

from ppdiffusers import DDPMScheduler, StableDiffusionUpscalePipeline
from tiny import parts
from tiny.stable_diffusion_2 import UNET, scheduler, text_components


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    levels = {
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "block_out_channels": [8, 8, 16],
    }
    StableDiffusionUpscalePipeline(
        vae=parts.vae(**levels, scaling_factor=0.08333),  # 三级结构，4 倍上采样
        unet=parts.unet(**UNET, in_channels=7, num_class_embeds=1000),
        low_res_scheduler=DDPMScheduler(beta_schedule="scaled_linear"),
        scheduler=scheduler(),
        **text_components(),
    ).save_pretrained(folder)
    return folder
