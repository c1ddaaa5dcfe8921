"""unCLIP (DALL-E 2, arXiv 2204.06125), as in Karlo: prompt or image to CLIP embedding to image."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
