"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.autoencoders.vq_model`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.autoencoders.vq_model": ["VQModel"],
        "ppdiffusers.models.modeling_outputs": ["VQEncoderOutput"],
    },
)
