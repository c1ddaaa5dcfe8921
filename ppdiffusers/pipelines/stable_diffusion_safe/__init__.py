"""Safe Latent Diffusion: Stable Diffusion with guidance away from a concept."""

from ppdiffusers.pipelines.stable_diffusion_safe.safety_config import SafetyConfig

__all__ = ["SafetyConfig"]
