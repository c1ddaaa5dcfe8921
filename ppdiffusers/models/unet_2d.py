"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.unets.unet_2d`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.unets.unet_2d": ["UNet2DModel"],
        "ppdiffusers.models.modeling_outputs": ["UNet2DOutput"],
    },
)
