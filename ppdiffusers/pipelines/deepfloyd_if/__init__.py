"""DeepFloyd IF: Imagen (arXiv 2205.11487) in pixel space, a T5 encoder and a cascade of super-resolution."""

from ppdiffusers.core.lazy import registry_exports

_TIMESTEPS = (
    *("fast27_timesteps", "smart27_timesteps", "smart50_timesteps", "smart100_timesteps", "smart185_timesteps"),
    *("super27_timesteps", "super40_timesteps", "super100_timesteps"),
)
__getattr__, __dir__, __all__ = registry_exports(__name__, {f"{__name__}.timesteps": _TIMESTEPS})
