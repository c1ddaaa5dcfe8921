"""RePaint (arXiv 2201.09865): inpainting with unconditional networks."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
