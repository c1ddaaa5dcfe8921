"""Adapters: small trained changes of a network's layers, which leave its weights unchanged."""

from ppdiffusers.models.adapters.deltas import Delta, LoRA
from ppdiffusers.models.adapters.dora import DoRA
from ppdiffusers.models.adapters.from_tensors import delta_from_tensors
from ppdiffusers.models.adapters.inject import (
    active_adapters,
    check_finite,
    create_lora,
    delete_adapters,
    disable_adapters,
    eject,
    enable_adapters,
    fuse,
    fused_adapters,
    get_adapters,
    inject,
    replace,
    set_adapters,
    unfuse,
)
from ppdiffusers.models.adapters.layers import AdapterLayer, LoRAConv2D, LoRALinear, LoRAPaddleConv2D, scaled
from ppdiffusers.models.adapters.lora_config import LoraConfig
from ppdiffusers.models.adapters.lycoris import Full, LoHa, LoKr

__all__ = [
    "AdapterLayer",
    "Delta",
    "DoRA",
    "Full",
    "LoHa",
    "LoKr",
    "LoRA",
    "LoRAConv2D",
    "LoRALinear",
    "LoRAPaddleConv2D",
    "LoraConfig",
    "active_adapters",
    "check_finite",
    "create_lora",
    "delete_adapters",
    "delta_from_tensors",
    "disable_adapters",
    "eject",
    "enable_adapters",
    "fuse",
    "fused_adapters",
    "get_adapters",
    "inject",
    "replace",
    "scaled",
    "set_adapters",
    "unfuse",
]
