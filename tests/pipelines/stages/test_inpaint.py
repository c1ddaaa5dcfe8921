"""Checks, masks, initial latents and blending of inpainting."""

import numpy as np
import paddle
import PIL.Image
import pytest

import ppdiffusers
from ppdiffusers import TorchGenerator
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.stages.inpaint import (
    Blending,
    InpaintLatents,
    blend_with_known,
    check_crop,
    check_masked_latents,
    prepare_inpaint_latents,
    prepare_mask,
)
from tests.pipelines.support import box_mask, make_image
from tests.support.parity import assert_close, noise

IMAGE, MASK = make_image(16, 16), box_mask(16, 16, (2, 2, 9, 9))
LATENTS = noise((1, 4, 3, 5), "image")


@pytest.fixture(scope="module")
def scheduler():
    made = ppdiffusers.DDIMScheduler()
    made.set_timesteps(10)
    return made


def test_check_crop():
    arguments = {"padding_mask_crop": 4, "image": IMAGE, "mask_image": MASK, "output_type": "pil"}
    assert check_crop(**arguments) == []
    assert check_crop(**{**arguments, "padding_mask_crop": None, "image": 3}) == []
    problems = check_crop(**{**arguments, "mask_image": np.zeros((16, 16)), "output_type": "np"})
    assert len(problems) == 2 and "`mask_image`" in problems[0] and "`output_type`" in problems[1]
    assert isinstance(MASK, PIL.Image.Image)


def test_check_masked_latents():
    latents = paddle.zeros([1, 4, 3, 5])
    assert check_masked_latents(image=IMAGE, masked_image_latents=None, channels=4) == []
    assert check_masked_latents(image=latents, masked_image_latents=latents, channels=4) == []
    (problem,) = check_masked_latents(image=latents, masked_image_latents=None, channels=4)
    assert "`masked_image_latents`" in problem


def test_prepare_mask():
    mask = paddle.to_tensor((np.arange(64).reshape(1, 1, 8, 8) % 8 >= 4).astype(np.float32))
    prepared = prepare_mask(mask, (2, 4), 3, "float32")
    np.testing.assert_array_equal(prepared.numpy(), np.tile([0, 0, 1, 1], (3, 1, 2, 1)))
    with pytest.raises(InputError, match="`mask_image` has 2"):
        prepare_mask(paddle.zeros([2, 1, 8, 8]), (2, 4), 3, "float32")


def prepare(scheduler, **arguments):
    settings = {
        "shape": (2, 4, 3, 5),
        "dtype": "float32",
        "generator": TorchGenerator(3),
        "latents": None,
        "image": paddle.to_tensor(LATENTS),
        "timestep": np.array([500] * 2),
        "is_strength_max": True,
        "encode": False,
    }
    return prepare_inpaint_latents(scheduler, ppdiffusers.AutoencoderKL(), **{**settings, **arguments})


def test_initial_latents_at_full_strength(scheduler):
    known = prepare(scheduler)
    assert known.image is None
    np.testing.assert_array_equal(known.initial.numpy(), known.noise.numpy())
    assert_close(known.noise, TorchGenerator(3).randn((2, 4, 3, 5)), 1e-6)


def test_initial_latents_below_full_strength(scheduler):
    known = prepare(scheduler, is_strength_max=False)
    np.testing.assert_array_equal(known.image.numpy(), np.concatenate([LATENTS] * 2))
    assert_close(known.initial, scheduler.add_noise(known.image, known.noise, np.array([500] * 2)), 1e-6)


def test_given_latents_are_used_whatever_the_strength(scheduler):
    given = noise((2, 4, 3, 5), "given")
    known = prepare(scheduler, latents=given, is_strength_max=False, encode=True)
    np.testing.assert_allclose(known.initial.numpy(), given)
    np.testing.assert_allclose(known.noise.numpy(), given)
    assert known.image is not None


def test_blending(scheduler):
    """The known part is noised to the next timestep; after the last step it is the image."""
    latents, mask = paddle.to_tensor(noise((1, 4, 3, 5), "latents")), np.zeros((1, 1, 3, 5), np.float32)
    mask[..., 2:] = 1
    known = InpaintLatents(latents, paddle.to_tensor(noise((1, 4, 3, 5), "noise")), paddle.to_tensor(LATENTS))
    for timestep in (np.array([500]), None):
        blended = blend_with_known(scheduler, latents, paddle.to_tensor(mask), known, timestep).numpy()
        np.testing.assert_allclose(blended[..., 2:], latents.numpy()[..., 2:])
        expected = known.image if timestep is None else scheduler.add_noise(known.image, known.noise, timestep)
        np.testing.assert_allclose(blended[..., :2], expected.numpy()[..., :2], rtol=1e-6)


def test_blending_of_a_loop(scheduler):
    """The mask is repeated for guidance; after the last step the image is clean."""
    known = InpaintLatents(*(paddle.to_tensor(noise((1, 4, 3, 5), name)) for name in ("initial", "noise", "image")))
    mask = paddle.to_tensor((noise((1, 1, 3, 5), "mask") > 0).astype(np.float32))
    timesteps = scheduler.timesteps[:3]
    blending = Blending(scheduler, timesteps, known)
    tensors = {"latents": known.initial, "mask": paddle.concat([mask] * 2)}
    for index, next_timestep in ((1, timesteps[2:3]), (2, None)):
        expected = blend_with_known(scheduler, known.initial, mask, known, next_timestep)
        np.testing.assert_array_equal(blending(index, tensors).numpy(), expected.numpy())
