"""TAESD's names: two lists of layers, of which the decoder's begins with a layer without weights."""

from collections.abc import Mapping
from typing import Any

from ppdiffusers.convert.rules import Rename, Rule


def rules(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the rules for both halves; `config` is that of our AutoencoderTiny."""
    # convolution, activation, then for each level its blocks, upsampling and a convolution
    layers = 2 + sum(config["num_decoder_blocks"]) + 2 * len(config["num_decoder_blocks"]) - 1
    decoder = [Rename(f"decoder/{n + 1}.**", f"decoder.layers.{n}.**", optional=True) for n in range(layers)]
    encoder_layers = sum(config["num_encoder_blocks"]) + len(config["num_encoder_blocks"]) + 1
    encoder = [Rename(f"encoder/{n}.**", f"encoder.layers.{n}.**") for n in range(encoder_layers)]
    return (*encoder, *decoder)
