"""Versatile Diffusion (arXiv 2211.08332): images from prompts, from images, and from both."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
