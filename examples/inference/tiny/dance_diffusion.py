"""Dance Diffusion 的小模型：双声道，采样率 8000 Hz。"""

from pathlib import Path

from ppdiffusers import DanceDiffusionPipeline, IPNDMScheduler, UNet1DModel
from tiny import parts


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    unet = UNet1DModel(
        sample_size=4096,
        sample_rate=8000,
        extra_in_channels=16,
        block_out_channels=[32, 32, 64],
        down_block_types=["DownBlock1DNoSkip", "DownBlock1D", "AttnDownBlock1D"],
        up_block_types=["AttnUpBlock1D", "UpBlock1D", "UpBlock1DNoSkip"],
    )
    DanceDiffusionPipeline(unet=unet, scheduler=IPNDMScheduler()).save_pretrained(folder)
    return folder
