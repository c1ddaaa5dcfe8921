"""最初设计文档的小模型：网络与 scheduler 位于同一个目录。"""

from pathlib import Path

from ppdiffusers import DDPMScheduler
from tiny import ddpm, parts


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    ddpm.unet().save_pretrained(folder)
    DDPMScheduler(num_train_timesteps=20).save_pretrained(folder)
    return folder
