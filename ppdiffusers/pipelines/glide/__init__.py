"""GLIDE (arXiv 2112.10741): prompt to small image to image, and inpainting."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
