"""Latent consistency models (arXiv 2310.04378): a UNet that takes the guidance scale, few steps."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
