"""FastDiff 的小模型：80 个梅尔频带，每帧 256 个采样点，采样率 22050 Hz。"""

from pathlib import Path

from ppdiffusers import BDDMScheduler, FastDiffModel, FastDiffPipeline
from tiny import parts


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    vocoder = FastDiffModel(
        inner_channels=8,
        kpnet_hidden_channels=16,
        diffusion_step_embed_dim_in=32,
        diffusion_step_embed_dim_mid=64,
        diffusion_step_embed_dim_out=64,
    )
    FastDiffPipeline(vocoder=vocoder, scheduler=BDDMScheduler(inference_schedule="fastdiff")).save_pretrained(folder)
    return folder
