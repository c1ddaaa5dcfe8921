"""Networks: one architecture in each file of `unets`, `autoencoders` and `transformers`."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(
    __name__,
    {
        "ppdiffusers.models.adapters.image_projections": ["ImageProjection"],
        "ppdiffusers.models.transformers.dual_transformer_2d": ["DualTransformer2DModel"],
    },
)
