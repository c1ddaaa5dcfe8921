"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.controlnets`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {"ppdiffusers.models.controlnets.multicontrolnet": ["MultiControlNetModel"]}
)
