"""DDPM 的小模型；DDIM、PNDM、VP SDE 和 RePaint 使用相同的网络。"""

from pathlib import Path

from ppdiffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from tiny import parts


def unet(**settings) -> UNet2DModel:
    return UNet2DModel(
        **{
            "sample_size": 32,
            "layers_per_block": 1,
            "block_out_channels": [16, 32],
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
            "norm_num_groups": 8,
            **settings,
        }
    )


def make(folder: Path, **settings) -> Path:
    """将小模型保存到 `folder` 并返回该目录；`settings` 修改 UNet 的配置。"""
    parts.seed()
    DDPMPipeline(unet=unet(**settings), scheduler=DDPMScheduler()).save_pretrained(folder)
    return folder


def make_network(folder: Path) -> Path:
    """将网络与 scheduler 保存到同一个目录，不含 model_index.json；返回该目录。"""
    parts.seed()
    unet().save_pretrained(folder)
    DDPMScheduler(num_train_timesteps=20).save_pretrained(folder)
    return folder
