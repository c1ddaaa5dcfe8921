"""Safe Latent Diffusion: Stable Diffusion steered away from a concept."""

from ppdiffusers.pipelines.stable_diffusion_safe.safety_config import SafetyConfig

__all__ = ["SafetyConfig"]
