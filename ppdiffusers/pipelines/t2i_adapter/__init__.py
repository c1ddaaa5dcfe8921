"""Stable Diffusion and Stable Diffusion XL with T2I-Adapters (arXiv 2302.08453): control images guide the UNet."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
