"""VQ-Diffusion (arXiv 2111.14822): text to image over the codes of a VQ autoencoder."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
