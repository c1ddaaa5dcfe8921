"""TAESD (github.com/madebyollin/taesd): a file of the encoder and one of the decoder of a tiny autoencoder."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ppdiffusers.convert.checkpoints.base import Layout, Network, OriginalModel, Tensors, shape_of, strip_prefix
from ppdiffusers.convert.checkpoints.settings import Settings
from ppdiffusers.convert.names.taesd import rules
from ppdiffusers.core.errors import WeightsError


def read(settings: Settings, tensors: Tensors, ema: bool) -> OriginalModel:
    """Read widths and numbers of blocks from the names and shapes; a file has one set of weights."""
    encoder, decoder = (strip_prefix(tensors, f"{part}/") for part in ("encoder", "decoder"))
    # A convolution begins each level of the encoder and ends each level of the decoder; blocks are between them.
    *starts, last = _convolutions(encoder)
    start, *ends = _convolutions(decoder)
    config: dict[str, Any] = {
        "in_channels": shape_of(encoder, f"{starts[0]}.weight")[1],
        "out_channels": shape_of(decoder, f"{ends[-1]}.weight")[0],
        "latent_channels": shape_of(encoder, f"{last}.weight")[0],
        "encoder_block_out_channels": [shape_of(encoder, f"{n}.weight")[0] for n in starts],
        "decoder_block_out_channels": [shape_of(decoder, f"{n}.weight")[1] for n in ends],
        "num_encoder_blocks": [after - n - 1 for n, after in pairwise([*starts, last])],
        # an activation follows the decoder's first convolution; upsampling precedes the others, except the last one
        "num_decoder_blocks": [
            after - n - 1 - (n == start) - (after != ends[-1]) for n, after in pairwise([start, *ends])
        ],
    }
    settings.raise_problems(sections=[""])
    network = Network("vae", "AutoencoderTiny", config, rules(config), tensors)
    return OriginalModel(None, (network,), None)


def layouts(settings: Settings) -> dict[str, Layout]:
    """One network in two files."""
    return {"vae": Layout("AutoencoderTiny", rules, {"upsampling_scaling_factor": 2, "act_fn": "relu"})}


def _convolutions(tensors: Tensors) -> list[int]:
    """Return the positions of the convolutions between the blocks."""
    names = [name.split(".") for name in tensors]
    found = sorted(int(name[0]) for name in names if len(name) == 2 and name[0].isdecimal() and name[1] == "weight")
    if len(found) < 2:
        raise WeightsError(
            f"The file has {len(found)} convolution(s) between its blocks.",
            expected="the state dict of TAESD's encoder or decoder: 0.weight, 1.conv.0.weight, ...",
        )
    return found
