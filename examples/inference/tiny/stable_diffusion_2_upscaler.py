"""Stable Diffusion 2 四倍放大的小模型：UNet 看潜变量和小图（4 + 3 个通道），噪声强度是它的类别。"""

from pathlib import Path

from ppdiffusers import DDPMScheduler, StableDiffusionUpscalePipeline
from tiny import parts
from tiny.stable_diffusion_2 import UNET, scheduler, text_side


def make(folder: Path) -> Path:
    """把小模型存到 `folder`，返回它。"""
    parts.seed()
    levels = {
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "block_out_channels": [8, 8, 16],
    }
    StableDiffusionUpscalePipeline(
        vae=parts.vae(**levels, scaling_factor=0.08333),  # 三级：边长放大到四倍
        unet=parts.unet(**UNET, in_channels=7, num_class_embeds=1000),
        low_res_scheduler=DDPMScheduler(beta_schedule="scaled_linear"),
        scheduler=scheduler(),
        **text_side(),
    ).save_pretrained(folder)
    return folder
