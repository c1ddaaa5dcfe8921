"""StableDiffusionInpaintPipelineLegacy against diffusers, live."""

import numpy as np
import paddle
import pytest
from diffusers.pipelines.deprecated.stable_diffusion_variants.pipeline_stable_diffusion_inpaint_legacy import (
    StableDiffusionInpaintPipelineLegacy as Legacy,
)

from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    SCHEDULERS,
    assert_images_agree,
    assert_round_trip,
    box_mask,
    call_both,
    generators,
    make_image,
    set_schedulers,
)
from tests.support.checkpoints import tiny_stable_diffusion_as

IMAGE, MASK = make_image(40, 36), box_mask(40, 36, (9, 7, 30, 22))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion_as(tmp_path_factory.mktemp("sd"), Legacy)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers(pair, scheduler):
    set_schedulers(*pair, scheduler)
    mine, reference = call_both(
        *pair, seed=4, prompt=PROMPTS[0], image=IMAGE, mask_image=MASK, num_inference_steps=20, output_type="np"
    )
    assert_images_agree(mine.images, reference.images)


CALLS = {
    "full strength": {"strength": 1.0},
    "without guidance": {"guidance_scale": 1.0},
    "add_predicted_noise": {"add_predicted_noise": True},
    "two images for each prompt": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "tensors": {
        "image": 2 * np.random.default_rng(0).random((1, 3, 32, 24), np.float32) - 1,
        "mask_image": np.random.default_rng(1).random((1, 1, 32, 24), np.float32),
    },
    "a mask with channels last": {
        "image": 2 * np.random.default_rng(0).random((1, 3, 32, 24), np.float32) - 1,
        "mask_image": np.random.default_rng(1).random((1, 32, 24, 3), np.float32),
    },
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    settings = {"prompt": PROMPTS[1], "image": IMAGE, "mask_image": MASK, "num_inference_steps": 5}
    mine, reference = call_both(*pair, seed=3, output_type="np", **{**settings, **CALLS[case]})
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected == reference.nsfw_content_detected


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", image=IMAGE, mask_image=MASK, num_inference_steps=3)


def test_one_generator_for_each_image(pair):
    """Each image of a batch equals the image generated alone."""
    ours, theirs = pair
    settings = {"image": IMAGE, "mask_image": MASK, "num_inference_steps": 3, "output_type": "np"}
    together = ours(PROMPTS, generator=generators(20, count=2)[0], **settings).images
    for n, prompt in enumerate(PROMPTS):
        alone = theirs(prompt, generator=generators(20 + n)[1], **settings).images
        assert_images_agree(together[n : n + 1], alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None}, "`image` must be a PIL image or a Paddle tensor"),
        ({"add_predicted_noise": True, "guidance_scale": 1.0}, "`add_predicted_noise` requires guidance"),
        ({"strength": 2}, "`strength` must be between"),
        ({"mask_image": paddle.zeros([1, 2, 36, 40])}, "has no channel axis"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    with pytest.raises(InputError, match=message):
        pair[0](**{"prompt": "a", "image": IMAGE, "mask_image": MASK, "num_inference_steps": 2, **arguments})
