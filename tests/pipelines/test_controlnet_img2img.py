"""StableDiffusionControlNetImg2ImgPipeline against diffusers, live."""

import diffusers
import numpy as np
import paddle
import pytest

from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    load_both,
    make_image,
    set_schedulers,
)
from tests.support.checkpoints import tiny_controlnet_pipeline
from tests.support.parity import noise

IMAGE, CONTROL = make_image(32, 32), make_image(32, 32, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_controlnet_pipeline(tmp_path_factory.mktemp("one"), diffusers.StableDiffusionControlNetImg2ImgPipeline)


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def pipes(loaded):
    set_schedulers(*loaded, "DDIMScheduler")
    return loaded


CALLS = {
    "one image": {},
    "an image for each prompt": {
        "prompt": PROMPTS,
        "image": [make_image(24, 40, 3), make_image(24, 40, 4)],
        "control_image": [make_image(24, 40, 1), make_image(24, 40, 2)],
    },
    "one image for two prompts": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "without guidance": {"guidance_scale": 1.0},
    "strength": {"strength": 0.5, "control_guidance_end": 0.5},
    "guess mode": {"guess_mode": True, "controlnet_conditioning_scale": 1.2},
    "another size": {"height": 24, "width": 48, "control_image": make_image(57, 31)},
    "odd size": {"image": make_image(57, 25), "control_image": make_image(57, 25, 1)},
    "latents": {"image": noise((1, 4, 16, 16))},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pipes, case):
    mine, reference = call_both(
        *pipes, seed=3,
        **{"prompt": PROMPTS[1], "image": IMAGE, "control_image": CONTROL, "num_inference_steps": 6,
           "output_type": "np", **CALLS[case]},
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_given_latents(pipes):
    mine, reference = call_both(
        *pipes, prompt="a", image=IMAGE, control_image=CONTROL, latents=noise((1, 4, 16, 16)), num_inference_steps=5,
        output_type="np",
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_callback_replaces_the_control_image(pipes):
    def callback(pipe, index, t, tensors):
        return {"control_image": tensors["control_image"] * 0.5}

    mine, reference = call_both(
        *pipes, seed=4, prompt="a", image=IMAGE, control_image=CONTROL, num_inference_steps=4, output_type="np",
        callback_on_step_end=callback, callback_on_step_end_tensor_inputs=["control_image"],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_conversion_both_ways(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", image=IMAGE, control_image=CONTROL, num_inference_steps=4)


def test_invalid_arguments_are_listed_together(pipes):
    with pytest.raises(InputError) as error:
        pipes[0]("a", IMAGE, make_image(24, 32), strength=2, control_guidance_start=1.0)
    text = str(error.value)
    for part in ("`image` is 32 x 32 and `control_image` 32 x 24", "`strength` must be", "0 <= start < end <= 1"):
        assert part in text
    with pytest.raises(InputError) as error:
        pipes[0]("a", None, None)
    assert {"`image` is required", "`control_image` is required"} <= set(error.value.problems)


def test_latents_of_another_size_than_the_control_image(pipes):
    latents = paddle.to_tensor(noise((1, 4, 8, 16)))
    with pytest.raises(InputError, match="`image` is 16 x 32 and `control_image` 32 x 32"):
        pipes[0]("a", latents, CONTROL, height=32, width=32)
    assert np.isfinite(
        pipes[0]("a", latents, make_image(32, 16), num_inference_steps=2, output_type="np").images
    ).all()  # fmt: skip
