"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.blocks.activations`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.blocks.activations": ["ApproximateGELU", "GEGLU", "GELU", "get_activation"],
    },
)
