"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.blocks`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.blocks.resampling": ["KUpsample2D", "Upsample2D"],
        "ppdiffusers.models.blocks.unet_1d_blocks": ["Upsample1d"],
    },
)
