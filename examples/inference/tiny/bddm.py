"""BDDM 的小模型：80 个梅尔频带，每帧 256 个采样点，采样率 22050 Hz，20 个训练时间步。"""

from pathlib import Path

from ppdiffusers import BDDMPipeline, BDDMScheduleModel, BDDMScheduler, DiffWaveModel
from tiny import parts


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    parts.seed()
    score_net = DiffWaveModel(
        res_channels=16,
        skip_channels=16,
        num_res_layers=3,
        dilation_cycle=3,
        diffusion_step_embed_dim_in=32,
        diffusion_step_embed_dim_mid=64,
        diffusion_step_embed_dim_out=64,
    )
    schedule_net = BDDMScheduleModel(blocks=1, input_dim=16, hidden_dim=16, segment_size=16)
    scheduler = BDDMScheduler(20, 0.0001, 0.02)
    BDDMPipeline(score_net=score_net, schedule_net=schedule_net, scheduler=scheduler).save_pretrained(folder)
    return folder
