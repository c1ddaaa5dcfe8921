"""Latent Diffusion (arXiv 2112.10752): text to image with LDMBert, and super-resolution."""

from ppdiffusers.core.lazy import registry_exports

__getattr__, __dir__, __all__ = registry_exports(
    __name__, {"ppdiffusers.pipelines.latent_diffusion.ldmbert": ["LDMBertConfig"]}
)
