"""安全版 Stable Diffusion 的小模型：Stable Diffusion 1.x 的结构，加上安全检查器。"""

from pathlib import Path

from ppdiffusers import StableDiffusionPipelineSafe
from ppdiffusers.pipelines.stable_diffusion_safe.safety_checker import SafeStableDiffusionSafetyChecker
from ppdiffusers.transformers import CLIPConfig
from tiny import parts, stable_diffusion


def make(folder: Path) -> Path:
    """把小模型存到 `folder`，返回它；检查器的阈值是初始值，不会拦下任何图片。"""
    shared = stable_diffusion.components()
    config = CLIPConfig(vision_config=parts.image_encoder().config, projection_dim=parts.WIDTH)
    own = {
        "safety_checker": SafeStableDiffusionSafetyChecker(config),
        "feature_extractor": parts.feature_extractor(),
        "requires_safety_checker": True,
    }
    StableDiffusionPipelineSafe(**{**shared, **own}).save_pretrained(folder)
    return folder
