"""Module path of diffusers; the code is in `models.adapters`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"ppdiffusers.models.adapters.network": ["PeftAdapterMixin"]})
