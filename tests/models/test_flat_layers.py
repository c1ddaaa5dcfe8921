"""Layers over [B, C, 4, 1] against diffusers'."""

import paddle
import pytest
import torch
from diffusers.pipelines.deprecated.versatile_diffusion import modeling_text_unet

from ppdiffusers.models.blocks.unet_flat_blocks import LinearMultiDim, flat_shape
from tests.models.support import both
from tests.support.parity import assert_close, noise, randomize


@pytest.mark.parametrize(("takes", "gives"), [(5, 7), ([20, 1, 1], 5), (5, [20, 1, 1]), ([3, 2, 2], [7, 1, 1])])
def test_linear_over_shapes(takes, gives):
    reference, ours = randomize(modeling_text_unet.LinearMultiDim(takes, gives)), LinearMultiDim(takes, gives)
    ours.weight.set_value(paddle.to_tensor(reference.weight.detach().numpy().T))
    ours.bias.set_value(paddle.to_tensor(reference.bias.detach().numpy()))
    x, tx = both(noise((2, *flat_shape(takes))))
    with torch.no_grad():
        assert_close(ours(x), reference(tx))
