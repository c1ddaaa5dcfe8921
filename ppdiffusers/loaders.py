"""Loader mixins, under the module path of diffusers and ppdiffusers 0.29."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {"ppdiffusers.pipelines.loaders.lora": ["StableDiffusionLoraLoaderMixin"]},
    aliases={"LoraLoaderMixin": "ppdiffusers.pipelines.loaders.lora:StableDiffusionLoraLoaderMixin"},
)
