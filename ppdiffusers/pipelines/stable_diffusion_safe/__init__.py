"""Safe Latent Diffusion (arXiv 2211.05105): Stable Diffusion guided away from unsafe concepts."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
