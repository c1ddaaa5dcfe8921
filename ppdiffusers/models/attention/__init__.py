"""Attention layers, their processors, and access to the processors of a network.

Names are imported on first access; those of `models.blocks` are here because diffusers has them in this module.
"""

from ppdiffusers.core.lazy import lazy_exports

_MODELS = "ppdiffusers.models"

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        f"{_MODELS}.attention.attention": ["Attention"],
        f"{_MODELS}.attention.mixin": ["AttentionMixin"],
        f"{_MODELS}.blocks.activations": ["ApproximateGELU", "GEGLU", "GELU"],
        f"{_MODELS}.blocks.normalization": ["AdaLayerNorm"],
        f"{_MODELS}.blocks.transformer": ["BasicTransformerBlock", "FeedForward"],
    },
)
