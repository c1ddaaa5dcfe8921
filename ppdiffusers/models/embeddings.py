"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.blocks` and `models.adapters`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.adapters.image_projections": [
            "IPAdapterFaceIDImageProjection",
            "IPAdapterFaceIDPlusImageProjection",
            "IPAdapterFullImageProjection",
            "IPAdapterPlusImageProjection",
            "IPAdapterPlusImageProjectionBlock",
            "ImageProjection",
            "MultiIPAdapterImageProjection",
        ],
        "ppdiffusers.models.blocks.embeddings": [
            "AttentionPooling",
            "GaussianFourierProjection",
            "ImagePositionalEmbeddings",
            "TextTimeEmbedding",
            "TimestepEmbedding",
            "Timesteps",
            "get_timestep_embedding",
        ],
    },
)
