"""DDIM (arXiv 2010.02502): fast sampling from DDPM networks."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
