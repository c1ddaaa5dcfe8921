"""paddlenlp's DPT and ours: the same depth from the layout that `convert` writes, and as components of one another."""

import importlib
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddlenlp.transformers import DPTForDepthEstimation

from ppdiffusers import StableDiffusionDepth2ImgPipeline, convert_diffusers_to_paddle

SCRIPTS = Path(__file__).parents[2] / "examples" / "inference"


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """The tiny checkpoint of the example script, written the way paddlenlp reads it."""
    folder = tmp_path_factory.mktemp("depth")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        made = importlib.import_module("tiny.depth2img").make(folder / "made")
    pipe = StableDiffusionDepth2ImgPipeline.from_pretrained(made)
    pipe.save_pretrained(folder / "torch", to_diffusers=True)
    convert_diffusers_to_paddle(folder / "torch", folder / "paddlenlp", layout="paddlenlp", progress=False)
    return folder / "paddlenlp"


def test_depth(layout):
    theirs = DPTForDepthEstimation.from_pretrained(str(layout / "depth_estimator"))
    theirs.eval()
    ours = StableDiffusionDepth2ImgPipeline.from_pretrained(layout)
    pixels = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 3, 96, 96)).astype(np.float32))
    with paddle.no_grad():
        expected, found = theirs(pixels)[0].numpy(), ours.depth_estimator(pixels).predicted_depth.numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())

    image = np.random.default_rng(1).random((1, 32, 40, 3)).astype(np.float32)
    with_theirs = StableDiffusionDepth2ImgPipeline.from_pretrained(layout, depth_estimator=theirs)
    images = []
    for pipe in (ours, with_theirs):
        pipe.set_progress_bar_config(disable=True)
        images.append(pipe("a", image, num_inference_steps=3, generator=0, output_type="np").images)
    np.testing.assert_allclose(*images, atol=2e-3)
