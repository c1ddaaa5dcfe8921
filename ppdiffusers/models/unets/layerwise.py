"""Verification of a UNet with dual attention, layer by layer: diffusers' own call of such a UNet raises a TypeError."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ppdiffusers.utils.dummy_inputs import BATCH, DummyInputs, normal, prompt_embeddings

PROMPT_TOKENS, IMAGE_TOKENS = 77, 7  # of the two conditions
_SINGLE = ("conv_in", "time_embedding", "conv_norm_out", "conv_out")


def layer_inputs(network: Any, rng: np.random.Generator) -> DummyInputs:
    """Make the input of every layer, by the layer's name, and the `emb` and `context` that layers share."""

    def features(channels: int) -> np.ndarray:
        return normal(rng, BATCH, int(channels), 4, 4)  # [B, C, H, W]

    config, first = network.config, network.config.block_out_channels[0]
    inputs: DummyInputs = {
        "emb": normal(rng, BATCH, config.time_embedding_dim or 4 * first),
        "context": prompt_embeddings(config.cross_attention_dim, rng, PROMPT_TOKENS + IMAGE_TOKENS),  # [B, S1 + S2, D]
        "conv_in": features(config.in_channels),
        "time_embedding": normal(rng, BATCH, first),
        "conv_norm_out": features(first),
        "conv_out": features(first),
    }
    for kind, name, layer in _layers_of_blocks(network):
        if kind == "attentions":
            inputs[name] = features(layer.transformers[0].config["in_channels"])
        else:
            convolution = layer.conv1 if kind == "resnets" else layer.conv
            inputs[name] = features(convolution.weight.shape[1])
    return inputs


def layer_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
    """Call every layer of a network of either framework with its input."""
    outputs = {name: getattr(network, name)(inputs[name]) for name in _SINGLE}
    for kind, name, layer in _layers_of_blocks(network):
        if kind == "attentions":
            outputs[name] = layer(inputs[name], inputs["context"], return_dict=False)[0]
        elif kind == "resnets":
            outputs[name] = layer(inputs[name], inputs["emb"])
        else:
            outputs[name] = layer(inputs[name])
    return outputs


def _layers_of_blocks(network: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield (kind, name, layer) of the residual blocks, attentions and resampling layers."""
    sides = ("down_blocks", "up_blocks")
    blocks = {f"{side}.{n}": block for side in sides for n, block in enumerate(getattr(network, side))}
    if network.mid_block is not None:
        blocks["mid_block"] = network.mid_block
    for name, block in blocks.items():
        for kind in ("resnets", "attentions", "downsamplers", "upsamplers"):
            for n, layer in enumerate(getattr(block, kind, None) or ()):
                yield kind, f"{name}.{kind}.{n}", layer
