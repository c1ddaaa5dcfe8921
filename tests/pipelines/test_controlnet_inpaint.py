"""StableDiffusionControlNetInpaintPipeline against diffusers, live, with UNets of 4 and 9 input channels."""

import diffusers
import numpy as np
import paddle
import pytest

from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_levels_agree,
    assert_round_trip,
    box_mask,
    call_both,
    load_both,
    make_image,
    set_schedulers,
)
from tests.support.checkpoints import tiny_controlnet_pipeline

IMAGE, CONTROL, MASK = make_image(32, 32), make_image(32, 32, 1), box_mask(32, 32, (4, 6, 20, 30))
IMAGES = {"image": IMAGE, "mask_image": MASK, "control_image": CONTROL}


@pytest.fixture(scope="module", params=[4, 9], ids=["4 channels", "9 channels"])
def folder(request, tmp_path_factory):
    return tiny_controlnet_pipeline(
        tmp_path_factory.mktemp("one"), diffusers.StableDiffusionControlNetInpaintPipeline, in_channels=request.param
    )


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def pipes(loaded):
    set_schedulers(*loaded, "DDIMScheduler")
    return loaded


CALLS = {
    "one image": {},
    "two prompts": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "without guidance": {"guidance_scale": 1.0},
    "strength": {"strength": 0.6, "controlnet_conditioning_scale": 1.0},
    "guess mode": {"guess_mode": True},
    "interval": {"control_guidance_start": 0.3, "control_guidance_end": 0.8},
    "another size": {"height": 24, "width": 48},
    "wide": {
        "image": make_image(48, 24),
        "mask_image": box_mask(48, 24, (4, 6, 20, 16)),
        "control_image": make_image(48, 24, 1),
    },
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pipes, case):
    mine, reference = call_both(
        *pipes, seed=3, **{"prompt": PROMPTS[1], **IMAGES, "num_inference_steps": 5, "output_type": "np", **CALLS[case]}
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_crop(pipes):
    images = {"image": make_image(64, 48), "mask_image": box_mask(64, 48, (30, 10, 50, 30))}
    mine, reference = call_both(
        *pipes, seed=3, prompt="a", **images, control_image=make_image(64, 48, 1), height=32, width=32,
        padding_mask_crop=4, num_inference_steps=4,
    )  # fmt: skip
    assert_levels_agree(np.asarray(mine.images[0]), np.asarray(reference.images[0]))


def test_conversion_both_ways(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", **IMAGES, num_inference_steps=3)


def test_invalid_arguments_are_listed_together(pipes):
    with pytest.raises(InputError) as error:
        pipes[0]("a", paddle.zeros([1, 4, 16, 16]), None, [CONTROL, CONTROL], strength=-1)
    text = str(error.value)
    for part in ("`image` has 4 channels", "`mask_image` is required", "2 images for 1 prompt", "`strength` must be"):
        assert part in text
