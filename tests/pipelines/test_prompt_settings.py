"""Every pipeline with a prompt hands `prompt_syntax` and `long_prompts` on to the encoding of its prompts."""

import numpy as np
import pytest

import ppdiffusers
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import box_mask, make_image
from tests.support.checkpoints import tiny_stable_diffusion

IMAGE = {"image": make_image(16, 16), "strength": 0.9}
MASK = {"mask_image": box_mask(16, 16, (2, 2, 14, 12))}
CALLS = {
    "StableDiffusionPipeline": {"height": 16, "width": 16},
    "StableDiffusionImg2ImgPipeline": IMAGE,
    "StableDiffusionInpaintPipeline": {**IMAGE, **MASK, "height": 16, "width": 16},
    "StableDiffusionInpaintPipelineLegacy": {**IMAGE, **MASK},
    "CycleDiffusionPipeline": {**IMAGE, "source_prompt": "a circle"},
}


@pytest.fixture(scope="module")
def components(tmp_path_factory):
    folder = tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False, scheduler="DDIMScheduler")
    pipeline = ppdiffusers.StableDiffusionPipeline.from_pretrained(folder)
    return {name: value for name, value in pipeline.components.items() if name != "image_encoder"}


@pytest.fixture(params=CALLS)
def paint(request, components):
    pipeline = getattr(ppdiffusers, request.param)(**components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)

    def call(prompt, **settings):
        result = pipeline(
            prompt, num_inference_steps=2, generator=0, output_type="np", **CALLS[request.param], **settings
        )
        return result.images

    return call


def test_weights_act_when_asked_for(paint):
    prompt = "a (red:1.5) circle"
    plain, weighted = paint(prompt), paint(prompt, prompt_syntax="webui")
    assert np.abs(plain - weighted).max() > 1e-3
    np.testing.assert_array_equal(paint("a red circle"), paint("a red circle", prompt_syntax="webui"))


def test_long_prompts_are_split_unless_they_are_to_be_cut(paint):
    long = "a red circle on a white background, " * 20
    assert np.abs(paint(long) - paint(long, long_prompts="truncate")).max() > 1e-3


def test_unknown_settings(paint):
    with pytest.raises(InputError, match="prompt_syntax"):
        paint("a", prompt_syntax="compel")
    with pytest.raises(InputError, match="long_prompts"):
        paint("a", long_prompts="fold")
