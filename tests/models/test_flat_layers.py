"""Layers over [B, C, 4, 1] against diffusers."""

import paddle
import pytest
import torch
from diffusers.pipelines.deprecated.versatile_diffusion import modeling_text_unet

from ppdiffusers.models.blocks.unet_flat_blocks import LinearMultiDim, flat_shape
from tests.models.support import both
from tests.support.parity import assert_close, noise, randomize


@pytest.mark.parametrize(
    ("in_features", "out_features"), [(5, 7), ([20, 1, 1], 5), (5, [20, 1, 1]), ([3, 2, 2], [7, 1, 1])]
)
def test_linear_over_shapes(in_features, out_features):
    reference, ours = (
        randomize(modeling_text_unet.LinearMultiDim(in_features, out_features)),
        LinearMultiDim(in_features, out_features),
    )
    ours.weight.set_value(paddle.to_tensor(reference.weight.detach().numpy().T))
    ours.bias.set_value(paddle.to_tensor(reference.bias.detach().numpy()))
    x, tx = both(noise((2, *flat_shape(in_features))))
    with torch.no_grad():
        assert_close(ours(x), reference(tx))
