"""DDPM (arXiv 2006.11239): unconditional generation with one network."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
