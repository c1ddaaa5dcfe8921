"""NCSN++ 的小模型：FIR 上下采样，带图像跳跃分支；Karras VE 使用相同的网络。"""

from pathlib import Path

from ppdiffusers import ScoreSdeVePipeline, ScoreSdeVeScheduler, UNet2DModel
from tiny import parts


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    unet = UNet2DModel(
        sample_size=32,
        layers_per_block=1,
        block_out_channels=[32, 64],
        time_embedding_type="fourier",
        attention_head_dim=None,
        down_block_types=["SkipDownBlock2D", "AttnSkipDownBlock2D"],
        up_block_types=["AttnSkipUpBlock2D", "SkipUpBlock2D"],
        mid_block_scale_factor=2**0.5,
        norm_eps=1e-6,
        norm_num_groups=None,
    )
    ScoreSdeVePipeline(unet=unet, scheduler=ScoreSdeVeScheduler()).save_pretrained(folder)
    return folder
