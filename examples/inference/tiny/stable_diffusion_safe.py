"""Safe Stable Diffusion 的小模型：Stable Diffusion 1.x 的结构加安全检查器。"""

from pathlib import Path

from ppdiffusers import StableDiffusionPipelineSafe
from ppdiffusers.pipelines.stable_diffusion_safe.safety_checker import SafeStableDiffusionSafetyChecker
from ppdiffusers.transformers import CLIPConfig
from tiny import parts, stable_diffusion


def make(folder: Path) -> Path:
    """将小模型保存到 `folder` 并返回该目录；安全检查器的阈值为初始值，所有图像都能通过。"""
    shared = stable_diffusion.components()
    config = CLIPConfig(vision_config=parts.image_encoder().config, projection_dim=parts.WIDTH)
    own = {
        "safety_checker": SafeStableDiffusionSafetyChecker(config),
        "feature_extractor": parts.feature_extractor(),
        "requires_safety_checker": True,
    }
    StableDiffusionPipelineSafe(**{**shared, **own}).save_pretrained(folder)
    return folder
