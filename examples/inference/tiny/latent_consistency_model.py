"""潜在一致性模型（LCM）的小模型：Stable Diffusion 1.x 的结构，UNet 的输入包括引导强度。"""

from pathlib import Path

from ppdiffusers import LatentConsistencyModelPipeline, LCMScheduler
from tiny import stable_diffusion


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录。"""
    components = stable_diffusion.components(time_cond_proj_dim=16)
    components["scheduler"] = LCMScheduler(**stable_diffusion.NOISE_SCHEDULE)
    LatentConsistencyModelPipeline(**components).save_pretrained(folder)
    return folder
