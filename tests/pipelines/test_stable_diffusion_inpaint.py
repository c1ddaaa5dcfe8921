"""StableDiffusionInpaintPipeline against diffusers, live, with UNets of 9 and of 4 channels."""

import diffusers
import numpy as np
import paddle
import pytest

from ppdiffusers import StableDiffusionInpaintPipeline
from ppdiffusers.core.errors import ConfigError, InputError
from tests.pipelines.support import (
    PROMPTS,
    SCHEDULERS,
    assert_images_agree,
    assert_levels_agree,
    assert_round_trip,
    box_mask,
    call_both,
    generators,
    make_image,
    set_schedulers,
)
from tests.support.checkpoints import tiny_stable_diffusion_as
from tests.support.parity import assert_close, noise

IMAGE, MASK = make_image(40, 36), box_mask(40, 36, (9, 7, 30, 22))


@pytest.fixture(scope="module", params=[9, 4], ids=["9 channels", "4 channels"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("sd")
    return tiny_stable_diffusion_as(path, diffusers.StableDiffusionInpaintPipeline, in_channels=request.param)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers(pair, scheduler):
    set_schedulers(*pair, scheduler)
    strength = {9: 1.0, 4: 0.6}[pair[0].unet.config.in_channels]
    mine, reference = call_both(
        *pair, seed=4, prompt=PROMPTS[0], image=IMAGE, mask_image=MASK, num_inference_steps=20, strength=strength,
        output_type="np",
    )  # fmt: skip
    assert mine.images.shape == (1, 32, 32, 3)
    assert_images_agree(mine.images, reference.images)


CALLS = {
    "full strength": {"strength": 1.0},
    "high strength": {"strength": 0.8},
    "wide": {"height": 24, "width": 40},
    "without guidance": {"guidance_scale": 1.0},
    "a negative prompt, clip_skip": {"negative_prompt": "low quality", "clip_skip": 1},
    "eta": {"eta": 0.7, "scheduler": "DDIMScheduler"},
    "two prompts, one image": {"prompt": PROMPTS},
    "two prompts, two images, two masks": {
        "prompt": PROMPTS,
        "image": [IMAGE, make_image(40, 36, 1)],
        "mask_image": [MASK, box_mask(40, 36, (0, 0, 12, 36))],
    },
    "two images for each prompt": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "tensors": {
        "image": np.random.default_rng(0).random((1, 3, 32, 24), np.float32),
        "mask_image": np.random.default_rng(1).random((1, 1, 32, 24), np.float32),
    },
    "given noise": {"latents": noise((1, 4, 16, 16))},
    "given noise, some strength": {"latents": noise((1, 4, 16, 16)), "strength": 0.6},
    "latents of the masked image": {"masked_image_latents": noise((1, 4, 16, 16), "masked")},
    "latents of the image and of the masked one": {
        "image": noise((1, 4, 16, 16), "image"),
        "masked_image_latents": noise((1, 4, 16, 16), "masked"),
        "strength": 0.8,
    },
    "explicit timesteps": {"timesteps": [900, 500, 300, 100], "scheduler": "EulerDiscreteScheduler"},
    "one step": {"num_inference_steps": 1},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "image": IMAGE, "mask_image": MASK, "num_inference_steps": 5, **CALLS[case]}
    set_schedulers(*pair, arguments.pop("scheduler", "PNDMScheduler"))
    mine, reference = call_both(*pair, seed=3, output_type="np", **arguments)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_one_generator_for_each_image(pair, strength):
    set_schedulers(*pair, "EulerAncestralDiscreteScheduler")
    mine, reference = generators(20, count=2)
    settings = {"prompt": PROMPTS, "image": IMAGE, "mask_image": MASK, "num_inference_steps": 4, "strength": strength}
    images = pair[0](generator=mine, output_type="np", **settings).images
    assert_images_agree(images, pair[1](generator=reference, output_type="np", **settings).images)


@pytest.mark.parametrize("padding", [0, 5, 32])
def test_padding_mask_crop(pair, padding):
    settings = {"prompt": "a", "image": IMAGE, "mask_image": MASK, "num_inference_steps": 4, "strength": 0.9}
    mine, reference = call_both(*pair, seed=3, padding_mask_crop=padding, **settings)
    image, expected = mine.images[0], reference.images[0]
    assert image.size == expected.size == IMAGE.size
    # the crop is resized as 8-bit levels: a level that is rounded differently changes its neighbours too
    assert_levels_agree(np.asarray(image), np.asarray(expected), different=5e-3)
    preserved = np.asarray(MASK) == 0
    np.testing.assert_array_equal(np.asarray(image)[preserved], np.asarray(IMAGE)[preserved])


def test_callback_replaces_the_mask(pair):
    def change(pipeline, index, timestep, tensors):
        assert set(tensors) == {"latents", "mask", "masked_image_latents"}
        return {"mask": tensors["mask"] * 0.9, "masked_image_latents": tensors["masked_image_latents"] + 0.05}

    mine, reference = call_both(
        *pair, seed=3, prompt="a", image=IMAGE, mask_image=MASK, num_inference_steps=4, output_type="latent",
        callback_on_step_end=change, callback_on_step_end_tensor_inputs=["latents", "mask", "masked_image_latents"],
    )  # fmt: skip
    assert_close(mine.images, reference.images, 1e-4)


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", image=IMAGE, mask_image=MASK, num_inference_steps=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None, "mask_image": 3}, "(?s)`image` is required.*`mask_image` must be"),
        ({"strength": -1}, "`strength` must be between"),
        ({"strength": 0.1}, "leaves no step"),
        ({"height": 30}, "`height` must be a positive multiple of 8"),
        ({"padding_mask_crop": 4, "output_type": "np"}, "`output_type` must be 'pil' with `padding_mask_crop`"),
        ({"padding_mask_crop": 4, "image": np.zeros((1, 8, 8, 3))}, "`image` must be a PIL image with"),
        ({"padding_mask_crop": 4, "mask_image": box_mask(40, 36, (0, 0, 0, 0))}, "The mask is black everywhere"),
        (
            {"prompt": ["a"] * 3, "mask_image": [MASK, MASK]},
            r"`mask_image` has 2 image\(s\), which cannot be repeated for a batch of 3",
        ),
        ({"latents": paddle.zeros([1, 4, 8, 8])}, "`latents` must be of shape"),
        ({"image": paddle.zeros([1, 4, 16, 16])}, "`masked_image_latents`, those of the masked image, are required"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    with pytest.raises(InputError, match=message):
        pair[0](**{"prompt": "a", "image": IMAGE, "mask_image": MASK, "num_inference_steps": 2, **arguments})


def test_unet_with_unsupported_channels(tmp_path):
    folder = tiny_stable_diffusion_as(tmp_path, diffusers.StableDiffusionInstructPix2PixPipeline, in_channels=8)
    with pytest.raises(ConfigError, match="takes 8 channels"):
        StableDiffusionInpaintPipeline.from_pretrained(folder)
