"""Score SDE, variance preserving (arXiv 2011.13456)."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(__name__)
