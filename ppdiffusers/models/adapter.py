"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.t2i_adapters`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.t2i_adapters.multi_adapter": ["MultiAdapter"],
        "ppdiffusers.models.t2i_adapters.t2i_adapter": ["T2IAdapter"],
    },
)
