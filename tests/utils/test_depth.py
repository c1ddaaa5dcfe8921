"""Depth as control images, against transformers' pipeline "depth-estimation"."""

import numpy as np
import paddle
import PIL.Image
import pytest
import transformers

from ppdiffusers.core.errors import InputError
from ppdiffusers.transformers import DPTForDepthEstimation, DPTImageProcessor
from ppdiffusers.utils.depth import depth_image, scale_depth
from tests.pipelines.support import make_image
from tests.support.stable_diffusion_2 import tiny_depth_estimator


@pytest.fixture(scope="module")
def estimators(tmp_path_factory):
    """((estimator, image processor), transformers' pipeline) of one folder."""
    folder = tmp_path_factory.mktemp("dpt")
    tiny_depth_estimator().save_pretrained(folder)
    transformers.DPTImageProcessor(size={"height": 96, "width": 96}).save_pretrained(folder)
    ours = DPTForDepthEstimation.from_pretrained(folder), DPTImageProcessor.from_pretrained(folder)
    return ours, transformers.pipeline("depth-estimation", model=str(folder), use_fast=False, device="cpu")


@pytest.mark.parametrize("size", [(57, 40), (120, 131)])
def test_levels(estimators, size):
    ours, reference = estimators
    image = make_image(*size)
    mine, theirs = np.asarray(depth_image(image, *ours)).astype(int), np.asarray(reference(image)["depth"]).astype(int)
    assert mine.shape == (*size[::-1], 3) and theirs.std() > 20
    assert np.abs(mine - theirs[..., None]).max() <= 1
    assert mine.min() == 0 and mine.max() == 255


def test_modes(estimators):
    image = make_image(48, 48)
    plain, alpha = (depth_image(one, *estimators[0]) for one in (image, image.convert("RGBA")))
    assert plain.mode == "RGB" and plain.tobytes() == alpha.tobytes()


def test_constant_depth(estimators):
    with pytest.raises(InputError, match="constant"):
        scale_depth(paddle.ones([1, 4, 4]), (8, 8))
    with pytest.raises(InputError, match="the estimated depth"):
        network, processor = estimators[0]
        last = network.head.head[4]
        weight, bias = last.weight.clone(), last.bias.clone()
        try:
            last.weight.set_value(paddle.zeros_like(weight))
            depth_image(PIL.Image.new("RGB", (32, 32)), network, processor)
        finally:
            last.weight.set_value(weight)
            last.bias.set_value(bias)
