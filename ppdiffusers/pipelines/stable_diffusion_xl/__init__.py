"""Stable Diffusion XL: latent diffusion guided by two text encoders and by the size of the image."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
