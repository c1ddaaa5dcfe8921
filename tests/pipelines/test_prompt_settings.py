"""Each pipeline with prompts supports `prompt_syntax` and `long_prompts`."""

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
def generate(request, components):
    pipeline = getattr(ppdiffusers, request.param)(**components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)

    def call(prompt, **settings):
        result = pipeline(
            prompt, num_inference_steps=2, generator=0, output_type="np", **CALLS[request.param], **settings
        )
        return result.images

    return call


def test_prompt_syntax(generate):
    prompt = "a (red:1.5) circle"
    plain, weighted = generate(prompt), generate(prompt, prompt_syntax="webui")
    assert np.abs(plain - weighted).max() > 1e-3
    np.testing.assert_array_equal(generate("a red circle"), generate("a red circle", prompt_syntax="webui"))


def test_long_prompts(generate):
    long = "a red circle on a white background, " * 20
    truncated = generate(long)
    np.testing.assert_array_equal(generate(long, long_prompts="truncate"), truncated)
    assert np.abs(generate(long, long_prompts="split") - truncated).max() > 1e-3


def test_unknown_settings(generate):
    with pytest.raises(InputError, match="prompt_syntax"):
        generate("a", prompt_syntax="compel")
    with pytest.raises(InputError, match="long_prompts"):
        generate("a", long_prompts="fold")
