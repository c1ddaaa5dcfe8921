"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.adapters`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__, {"ppdiffusers.models.adapters.call_scale": ["adjust_lora_scale_text_encoder"]}
)
