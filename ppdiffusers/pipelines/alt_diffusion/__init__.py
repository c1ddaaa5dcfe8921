"""AltDiffusion: Stable Diffusion with a multilingual text encoder (arXiv 2211.06679)."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
