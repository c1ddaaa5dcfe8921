"""Module path of diffusers before 0.26 and of ppdiffusers 0.29; the code is in `models.blocks`."""

from ppdiffusers.core.lazy import lazy_exports

_BLOCKS = "ppdiffusers.models.blocks"

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.transformers.dual_transformer_2d": ["DualTransformer2DModel"],
        "ppdiffusers.models.transformers.transformer_2d": ["Transformer2DModel"],
        f"{_BLOCKS}.resampling": ["Downsample2D", "KDownsample2D", "KUpsample2D", "Upsample2D"],
        f"{_BLOCKS}.resnet": ["ResnetBlock2D", "ResnetBlockCondNorm2D"],
        f"{_BLOCKS}.unet_2d_blocks": [
            "CrossAttnDownBlock2D",
            "CrossAttnUpBlock2D",
            "DownBlock2D",
            "UNetMidBlock2D",
            "UNetMidBlock2DCrossAttn",
            "UpBlock2D",
        ],
        f"{_BLOCKS}.unet_2d_k_blocks": ["KAttentionBlock", "KDownBlock2D", "KUpBlock2D"],
        f"{_BLOCKS}.unet_2d_skip_blocks": ["SkipDownBlock2D", "SkipUpBlock2D"],
    },
)
