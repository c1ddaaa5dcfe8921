"""Module path of ppdiffusers before 0.16, with the class name of that time; the code is in `models.attention`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {}, aliases={"CrossAttention": "ppdiffusers.models.attention.attention:Attention"}
)
