"""The stochastic second-order sampler of Karras et al. (arXiv 2206.00364)."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
