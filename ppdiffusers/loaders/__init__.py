"""Loader mixins, under the module path of diffusers and ppdiffusers 0.29."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.pipelines.loaders.ip_adapter": ["IPAdapterMixin"],
        "ppdiffusers.pipelines.loaders.lora": ["StableDiffusionLoraLoaderMixin"],
        "ppdiffusers.pipelines.loaders.lora_xl": ["StableDiffusionXLLoraLoaderMixin"],
        "ppdiffusers.models.adapters.attn_procs": ["UNet2DConditionLoadersMixin"],
        "ppdiffusers.models.adapters.network": ["PeftAdapterMixin"],
        "ppdiffusers.models.attention.legacy_processors": ["AttnProcsLayers"],
        "ppdiffusers.models.single_file": ["FromOriginalModelMixin"],
        "ppdiffusers.pipelines.loaders.single_file": ["FromSingleFileMixin"],
        "ppdiffusers.pipelines.loaders.textual_inversion": ["TextualInversionLoaderMixin"],
    },
    aliases={"LoraLoaderMixin": "ppdiffusers.pipelines.loaders.lora:StableDiffusionLoraLoaderMixin"},
)
