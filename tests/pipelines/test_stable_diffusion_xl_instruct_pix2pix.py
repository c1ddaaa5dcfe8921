"""StableDiffusionXLInstructPix2PixPipeline against diffusers, live."""

import diffusers
import pytest

from ppdiffusers.core.errors import ConfigError, InputError
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    load_both,
    load_classes,
    make_image,
)
from tests.support.parity import noise
from tests.support.stable_diffusion_xl import tiny_stable_diffusion_xl

EDIT = diffusers.StableDiffusionXLInstructPix2PixPipeline
IMAGE = make_image(40, 48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion_xl(tmp_path_factory.mktemp("edit"), EDIT, in_channels=8)


@pytest.fixture(scope="module")
def pair(folder):
    return load_both(folder)


@pytest.fixture(scope="module")
def cosxl(folder, pair):
    return load_classes(folder, type(pair[0]), type(pair[1]), is_cosxl_edit=True)


CALLS = {
    "defaults": {},
    "two prompts, two images each": {
        "prompt": PROMPTS,
        "num_images_per_prompt": 2,
        "negative_prompt": ["blurry", "bad"],
    },
    "wide": {"height": 16, "width": 48, "prompt_2": "a cat"},
    "without guidance": {"image_guidance_scale": 0.5, "prompt": PROMPTS},
    "guidance_rescale": {"guidance_rescale": 0.7, "image_guidance_scale": 2.0},
    "sizes, denoising_end": {"original_size": (50, 70), "target_size": (64, 40), "denoising_end": 0.6},
    "latents of an image, given latents": {"image": noise((1, 4, 16, 16), "image"), "latents": noise((1, 4, 16, 16))},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "image": IMAGE, "num_inference_steps": 4, "output_type": "np", **CALLS[case]}
    mine, reference = call_both(*pair, seed=3, **arguments)
    assert_images_agree(mine.images, reference.images)


def test_cosxl_edit(cosxl):
    arguments = {"prompt": PROMPTS[1], "image": IMAGE, "num_inference_steps": 3, "output_type": "np"}
    mine, reference = call_both(*cosxl, seed=3, **arguments)
    assert_images_agree(mine.images, reference.images)
    assert cosxl[0].config.is_cosxl_edit is True


def test_wrong_arguments(pair):
    with pytest.raises(InputError) as caught:
        pair[0](PROMPTS, prompt_2=["a"], height=12)
    for part in ("`prompt_2` has 1", "`image` is required", "`height`"):
        assert part in str(caught.value)


def test_unet_of_another_task(pair, tmp_path):
    folder = tiny_stable_diffusion_xl(tmp_path, EDIT)
    with pytest.raises(ConfigError, match="latents and image have 8"):
        type(pair[0]).from_pretrained(folder)("a", image=IMAGE, num_inference_steps=1)


def test_conversion_and_saving(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt=PROMPTS[0], image=IMAGE, num_inference_steps=2)
