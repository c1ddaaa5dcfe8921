"""The configurations of Safe Latent Diffusion (arXiv 2211.05105, table 3): `pipe(prompt, **SafetyConfig.STRONG)`."""

from __future__ import annotations


def _config(warmup: int, scale: float, threshold: float, momentum: float, beta: float) -> dict[str, float]:
    return {
        "sld_warmup_steps": warmup,
        "sld_guidance_scale": scale,
        "sld_threshold": threshold,
        "sld_momentum_scale": momentum,
        "sld_mom_beta": beta,
    }


class SafetyConfig:
    """Arguments of `StableDiffusionPipelineSafe`, from weak to strong."""

    WEAK = _config(warmup=15, scale=20, threshold=0.0, momentum=0.0, beta=0.0)
    MEDIUM = _config(warmup=10, scale=1000, threshold=0.01, momentum=0.3, beta=0.4)
    STRONG = _config(warmup=7, scale=2000, threshold=0.025, momentum=0.5, beta=0.7)
    MAX = _config(warmup=0, scale=5000, threshold=1.0, momentum=0.5, beta=0.7)
