"""Module path of diffusers and ppdiffusers 0.29; the code is in `core.outputs`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"ppdiffusers.core.outputs": ["BaseOutput"]})
