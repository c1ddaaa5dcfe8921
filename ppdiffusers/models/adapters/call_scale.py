"""diffusers' functions with which pipelines scale the LoRA of a network around a call; `scaled` is safe in threads."""

from __future__ import annotations

from paddle import nn

from ppdiffusers.models.adapters.layers import AdapterLayer, adapter_layers


def scale_lora_layers(model: nn.Layer, weight: float) -> None:
    """Multiply the weights of all active adapters of a network by `weight`, until `unscale_lora_layers`."""
    for layer in adapter_layers(model):
        _set_active(layer, {name: value * weight for name, value in _active(layer).items()})


def unscale_lora_layers(model: nn.Layer, weight: float | None = None) -> None:
    """Undo `scale_lora_layers` with the same `weight`; after 0 the weights are 1, as in diffusers."""
    if weight is None or weight == 1:
        return
    for layer in adapter_layers(model):
        _set_active(layer, {name: value / weight if weight else 1.0 for name, value in _active(layer).items()})


def adjust_lora_scale_text_encoder(text_encoder: nn.Layer, lora_scale: float = 1.0) -> None:
    """Set the weights of all active adapters of a text encoder to `lora_scale`."""
    for layer in adapter_layers(text_encoder):
        _set_active(layer, dict.fromkeys(_active(layer), lora_scale))


def _active(layer: AdapterLayer) -> dict[str, float]:
    return {name: weight for name, weight in layer.adapter_weights.items() if weight is not None}


def _set_active(layer: AdapterLayer, weights: dict[str, float]) -> None:
    layer.adapter_weights = {**layer.adapter_weights, **weights}
