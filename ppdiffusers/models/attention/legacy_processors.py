"""Names around attention processors that scripts import: groups of processors, and the LoRA processors before PEFT."""

from __future__ import annotations

from collections.abc import Mapping

from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.attention import processors as p
from ppdiffusers.models.attention.processors import AttentionProcessor

# Groups of diffusers, by which scripts choose a default processor.
ADDED_KV_ATTENTION_PROCESSORS = (p.AttnAddedKVProcessor, p.SlicedAttnAddedKVProcessor, p.AttnAddedKVProcessor2_0)
CROSS_ATTENTION_PROCESSORS = (*(p.AttnProcessor, p.AttnProcessor2_0, p.XFormersAttnProcessor, p.SlicedAttnProcessor),)


class LoRAAttnProcessor:
    """Processor with a LoRA. No layer has one, since LoRA layers contain their adapters; scripts ask `isinstance`."""

    def __init__(self, *args: object, **kwargs: object):
        raise InputError(
            f"{type(self).__name__} cannot be created: LoRA layers contain their adapters.",
            remedy="load a file with pipe.load_lora_weights, or add a new LoRA with "
            "ppdiffusers.models.adapters.inject.create_lora and inject.",
        )


class LoRAAttnProcessor2_0(LoRAAttnProcessor):
    """The same with fused attention."""


class LoRAXFormersAttnProcessor(LoRAAttnProcessor):
    """The same with xFormers."""


class LoRAAttnAddedKVProcessor(LoRAAttnProcessor):
    """The same with added keys and values."""


class AttnProcsLayers(nn.Layer):
    """The processors that have parameters, as one layer; its parameters have the names of `attn_processors`."""

    def __init__(self, state_dict: Mapping[str, AttentionProcessor]):
        super().__init__()
        for name, processor in state_dict.items():
            if isinstance(processor, nn.Layer):
                self.add_sublayer(name, processor)
