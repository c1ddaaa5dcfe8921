"""Module path of diffusers and ppdiffusers 0.29; the code is in `models.attention`."""

from ppdiffusers.core.lazy import lazy_exports

_ATTENTION = "ppdiffusers.models.attention"

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.adapters.ip_adapter_processor": ["IPAdapterAttnProcessor", "IPAdapterAttnProcessor2_0"],
        f"{_ATTENTION}.attention": ["Attention"],
        f"{_ATTENTION}.legacy_processors": [
            "ADDED_KV_ATTENTION_PROCESSORS",
            "CROSS_ATTENTION_PROCESSORS",
            "LoRAAttnAddedKVProcessor",
            "LoRAAttnProcessor",
            "LoRAAttnProcessor2_0",
            "LoRAXFormersAttnProcessor",
        ],
        f"{_ATTENTION}.processors": [
            "AttentionProcessor",
            "AttnAddedKVProcessor",
            "AttnAddedKVProcessor2_0",
            "AttnProcessor",
            "AttnProcessor2_0",
            "FusedAttnProcessor2_0",
            "SlicedAttnAddedKVProcessor",
            "SlicedAttnProcessor",
            "XFormersAttnProcessor",
        ],
    },
    aliases={  # names of ppdiffusers 0.29, after the version of Paddle
        "AttnAddedKVProcessor2_5": f"{_ATTENTION}.processors:AttnAddedKVProcessor2_0",
        "AttnProcessor2_5": f"{_ATTENTION}.processors:AttnProcessor2_0",
        "LoRAAttnProcessor2_5": f"{_ATTENTION}.legacy_processors:LoRAAttnProcessor2_0",
        "IPAdapterAttnProcessor2_5": "ppdiffusers.models.adapters.ip_adapter_processor:IPAdapterAttnProcessor2_0",
    },
)
