"""FreeU against diffusers, live: the filter on every kind of size, UNets, pipelines."""

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.utils.torch_utils import fourier_filter

from ppdiffusers import StableDiffusionPipeline
from ppdiffusers.core.errors import InputError
from ppdiffusers.models.blocks.freeu import low_frequencies
from tests.models.support import both, twins
from tests.support.parity import assert_close, noise

FACTORS = {"s1": 0.9, "s2": 0.2, "b1": 1.5, "b2": 1.6}


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (2, 3), (3, 4), (5, 7), (16, 16), (17, 24)], ids=str)
def test_the_low_frequencies(size):
    x = noise((2, 3, *size))
    ours, theirs = both(x)
    filtered = ours + (0.3 - 1) * low_frequencies(ours)
    assert np.abs(filtered.numpy() - fourier_filter(theirs, threshold=1, scale=0.3).numpy()).max() < 1e-5


@pytest.fixture(scope="module")
def unets(tmp_path_factory):
    """Three levels, whose skip connections have odd sizes for the inputs below."""
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        layers_per_block=1,
        block_out_channels=(8, 16, 24),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=12,
        attention_head_dim=4,
    )
    return twins(tmp_path_factory.mktemp("unet"), unet)


def outputs(unets):
    arrays = noise((2, 4, 13, 22)), noise((2, 7, 12), "prompt")
    ours, theirs = zip(*map(both, arrays), strict=True)
    with torch.no_grad(), paddle.no_grad():
        return unets[0](ours[0], 7, ours[1]).sample, unets[1](theirs[0], 7, theirs[1]).sample


def test_unets(unets):
    before, _ = outputs(unets)
    for unet in unets:
        unet.enable_freeu(**FACTORS)
    ours, theirs = outputs(unets)
    assert_close(ours, theirs)
    assert float((ours - before).abs().max()) > 1e-2
    for unet in unets:
        unet.enable_freeu(0.5, 0, 1.5, 1.6)  # a factor of zero disables it, as in diffusers
    assert np.array_equal(outputs(unets)[0], before)
    assert_close(*outputs(unets))
    unets[0].enable_freeu(**FACTORS)
    unets[0].disable_freeu()
    assert np.array_equal(outputs(unets)[0], before)


def test_a_pipeline_enables_it(unets):
    pipeline = StableDiffusionPipeline.__new__(StableDiffusionPipeline)
    pipeline.unet = unets[0]
    before, _ = outputs(unets)
    pipeline.enable_freeu(**FACTORS)
    changed, _ = outputs(unets)
    pipeline.disable_freeu()
    assert not np.array_equal(changed, before) and np.array_equal(outputs(unets)[0], before)
    pipeline.unet = None
    with pytest.raises(InputError, match="requires a UNet"):
        pipeline.enable_freeu(**FACTORS)
