"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.autoencoders.autoencoder_kl`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.autoencoders.autoencoder_kl": ["AutoencoderKL"],
        "ppdiffusers.models.autoencoders.vae": ["Decoder", "DiagonalGaussianDistribution", "Encoder"],
        "ppdiffusers.models.modeling_outputs": ["AutoencoderKLOutput", "DecoderOutput"],
    },
)
