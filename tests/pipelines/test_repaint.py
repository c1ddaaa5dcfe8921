"""RePaintPipeline against diffusers: images and masks of every kind, jumps, eta, draws; saving, converting."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import DiffusionPipeline, RePaintPipeline, RePaintScheduler
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    assert_images_agree,
    assert_levels_agree,
    box_mask,
    call_both,
    generators,
    load_both,
    make_image,
)
from tests.support.parity import assert_close, noise
from tests.support.round_trip import saved_both_ways, there_and_back
from tests.support.unconditional import every_sample, tiny_unconditional

# white is kept: the lower right is generated
IMAGES = {"image": make_image(32, 32), "mask_image": box_mask(32, 32, (0, 0, 32, 20))}
# 24 calls of the network and 2 jumps of 100 draws and more
STEPS = {"num_inference_steps": 20, "jump_length": 4, "jump_n_sample": 2, "output_type": "np"}
SHORT = {**IMAGES, "num_inference_steps": 4, "jump_length": 2, "jump_n_sample": 2, "output_type": "np"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_unconditional("RePaintPipeline", tmp_path_factory.mktemp("repaint"))


@pytest.fixture
def both(folder):
    return load_both(folder)


def test_the_same_seed_generates_the_same_image(both):
    ours, theirs = both
    assert type(ours) is RePaintPipeline
    mine, reference = call_both(ours, theirs, seed=7, **IMAGES, **STEPS)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize(
    "jumps",
    [
        {},
        {"num_inference_steps": 7, "jump_length": 3, "jump_n_sample": 3},
        {"num_inference_steps": 6, "jump_length": 1, "jump_n_sample": 2, "eta": 0.6},
        {"num_inference_steps": 5, "jump_length": 9, "jump_n_sample": 4, "eta": 1.0},  # longer than there are steps
    ],
)
def test_every_step_and_jump_agrees(both, jumps):
    """Before images are clipped to what can be shown."""
    ours, theirs = both
    mine, reference = every_sample(ours), every_sample(theirs)
    call_both(ours, theirs, seed=3, **{**SHORT, **jumps})
    assert len(mine) == len(reference) >= 5
    for n, (sample, expected) in enumerate(zip(mine, reference, strict=True)):
        assert_close(sample, expected, 1e-4, f"result {n} of the scheduler")


def test_sides_that_do_not_divide_are_cut(both):
    """Images to multiples of 8 pixels, masks to multiples of 32; not square."""
    ours, theirs = both
    images = {"image": make_image(71, 39, 1), "mask_image": box_mask(95, 34, (30, 0, 95, 20))}
    mine, reference = call_both(ours, theirs, seed=5, **{**SHORT, **images})
    assert mine.images.shape == (1, 32, 64, 3)
    assert_images_agree(mine.images, reference.images)


def test_two_images_and_their_masks(both):
    """A list of images; of several PIL masks diffusers makes channels, so it is given tensors."""
    ours, theirs = both
    masks = [box_mask(32, 32, (0, 0, 32, 20)), box_mask(32, 32, (9, 5, 20, 32))]
    images = [make_image(32, 32, 1), make_image(32, 32, 2)]
    stacked = torch.from_numpy(np.stack([np.asarray(mask, dtype=np.float32) / 255 for mask in masks])[:, None])
    mine, reference = generators(5)
    generated = ours(**{**SHORT, "image": images, "mask_image": masks}, generator=mine).images
    expected = theirs(**{**SHORT, "image": images, "mask_image": stacked}, generator=reference).images
    assert_images_agree(generated, expected)


def test_tensors_are_used_as_they_are(both):
    """One mask for two images; sides that no processor would leave alone."""
    ours, theirs = both
    images = {
        "image": noise((2, 3, 12, 20)).clip(-1, 1),
        "mask_image": (noise((1, 1, 12, 20)) > 0).astype(np.float32),
    }
    mine, reference = call_both(ours, theirs, seed=5, **{**SHORT, **images})
    assert mine.images.shape == (2, 12, 20, 3)
    assert_images_agree(mine.images, reference.images)


def test_a_generator_for_each_image(both):
    """Each draws the first noise of its image, the first one all others."""
    ours, theirs = both
    mine, reference = generators(5, count=2)
    settings = {**SHORT, "image": [make_image(32, 32, 1), make_image(32, 32, 2)]}
    assert_images_agree(ours(generator=mine, **settings).images, theirs(generator=reference, **settings).images)


def test_what_the_mask_keeps_is_kept(both):
    """Eq. 8a at t = 0: known pixels come out as they went in, others do not."""
    original = np.asarray(IMAGES["image"], dtype=np.float32) / 255  # [H, W, C]
    known = np.asarray(IMAGES["mask_image"]) > 0
    (generated,) = both[0](generator=1, **SHORT).images
    np.testing.assert_allclose(generated[known], original[known], atol=1e-6)
    assert np.abs(generated[~known] - original[~known]).mean() > 0.1


def test_output_types(both):
    ours, theirs = both
    settings = {name: value for name, value in SHORT.items() if name != "output_type"}
    images, reference = call_both(ours, theirs, seed=1, **settings)
    assert_levels_agree(np.asarray(images.images[0]), np.asarray(reference.images[0]))
    array = ours(**settings, generator=1, output_type="np").images
    (tensor,) = ours(**settings, generator=1, output_type="pd", return_dict=False)
    np.testing.assert_array_equal(tensor.numpy().transpose(0, 2, 3, 1), array)


def test_converted_both_ways(folder, tmp_path):
    paddle_folder, torch_folder = there_and_back(folder, tmp_path)
    paddle_again = DiffusionPipeline.from_pretrained(paddle_folder)
    torch_again = diffusers.DiffusionPipeline.from_pretrained(torch_folder)
    mine, reference = call_both(paddle_again, torch_again, seed=2, **SHORT)
    assert_images_agree(mine.images, reference.images)


def test_saved_and_loaded_again(both, tmp_path):
    saved, for_torch = saved_both_ways(both[0], tmp_path)
    again, torch_again = (
        DiffusionPipeline.from_pretrained(saved),
        diffusers.DiffusionPipeline.from_pretrained(for_torch),
    )
    mine, reference = call_both(again, torch_again, seed=2, **SHORT)
    np.testing.assert_array_equal(mine.images, both[0](generator=2, **SHORT).images)
    assert_images_agree(mine.images, reference.images)


def test_a_published_ddpm_inpaints(tmp_path):
    """RePaint needs no training: the scheduler of another pipeline's folder becomes its own."""
    folder = tiny_unconditional("DDPMPipeline", tmp_path)
    pipeline = RePaintPipeline.from_pretrained(folder, scheduler=RePaintScheduler.from_pretrained(folder / "scheduler"))
    reference = diffusers.RePaintPipeline.from_pretrained(
        folder, scheduler=diffusers.RePaintScheduler.from_pretrained(folder / "scheduler")
    )
    mine, expected = call_both(pipeline, reference, seed=2, **SHORT)
    assert_images_agree(mine.images, expected.images)


def test_everything_wrong_is_listed(both):
    wrong = {"num_inference_steps": 0, "eta": "much", "jump_length": 0, "jump_n_sample": 1.5}
    wrong |= {"generator": "seven", "output_type": "jpeg"}
    with pytest.raises(InputError) as raised:
        both[0]("image.png", None, **wrong)
    for argument in ("image", "mask_image", *wrong):
        assert f"`{argument}`" in str(raised.value), argument


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_image": box_mask(64, 32, (0, 0, 64, 9))}, "`mask_image` has shape .* use multiples of 32"),
        ({"image": paddle.zeros([1, 4, 32, 32])}, "`image` has 4 channels, the network takes 3"),
        ({"mask_image": paddle.zeros([1, 2, 32, 32])}, "`mask_image` has shape"),
        ({"generator": [1, 2]}, "2 generators for 1 image"),
    ],
)
def test_what_does_not_fit_is_refused(both, changes, message):
    with pytest.raises(InputError, match=message):
        both[0](**{**SHORT, **changes})


def test_nan_is_named(both, caplog):
    ours, _ = both
    ours.unet.conv_in.bias.set_value(paddle.full_like(ours.unet.conv_in.bias, float("nan")))
    ours(generator=0, **SHORT)
    assert "first appeared in: timestep 750" in caplog.text
