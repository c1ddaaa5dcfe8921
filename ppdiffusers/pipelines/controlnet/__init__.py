"""Stable Diffusion with ControlNets (arXiv 2302.05543): control images guide the UNet."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
