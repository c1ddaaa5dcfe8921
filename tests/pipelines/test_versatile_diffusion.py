"""Versatile Diffusion's pipelines against diffusers'. Its dual-guided one raises a TypeError there: the reference runs
with the argument left out that its transformers do not know (`leave_out_mask_argument`)."""

import logging

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import DDIMScheduler
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import PROMPTS, assert_images_agree, call_both
from tests.runtime.support import program_cache
from tests.support.parity import noise
from tests.support.versatile import (
    COMMON,
    DUAL,
    IMAGE,
    IMAGES,
    NOISES,
    TEXT,
    load,
    load_both,
    tiny_versatile,
)

__all__ = ["program_cache"]
NOISE = {"latents": noise((1, 4, 28, 32)), "height": 56, "width": 64}
CALLS = {
    "one text": (TEXT, {"prompt": PROMPTS[0], **NOISE}),
    "two prompts with negative prompts": (TEXT, {"prompt": PROMPTS, "negative_prompt": ["blue", "a cat"], **NOISES}),
    "no guidance": (TEXT, {"prompt": PROMPTS, "guidance_scale": 1.0, **NOISES}),
    "two of each text": (TEXT, {"prompt": PROMPTS, "num_images_per_prompt": 2, "seed": 5}),
    "fresh noise": (TEXT, {"prompt": PROMPTS[1], "negative_prompt": "a red circle", "eta": 0.7, "seed": 6}),
    "too long a text": (TEXT, {"prompt": "a red circle, " * 30, **NOISE}),
    "one image": (IMAGE, {"image": IMAGES[0], **NOISE}),
    "two images with negative images": (IMAGE, {"image": IMAGES, "negative_prompt": IMAGES[::-1], **NOISES}),
    "image, no guidance": (IMAGE, {"image": IMAGES, "guidance_scale": 0.5, **NOISES}),
    "two of each image": (IMAGE, {"image": IMAGES, "num_images_per_prompt": 2, "seed": 7}),
    "tensors": (IMAGE, {"image": np.floor(255 * np.abs(np.sin(noise((2, 3, 40, 44))))), **NOISES}),
    "both": (DUAL, {"prompt": PROMPTS[0], "image": IMAGES[0], **NOISE}),
    "two of both": (DUAL, {"prompt": PROMPTS, "image": IMAGES, "text_to_image_strength": 0.8, **NOISES}),
    "the image alone": (DUAL, {"prompt": PROMPTS[0], "image": IMAGES[1], "text_to_image_strength": 0.0, **NOISE}),
    "both, no guidance": (DUAL, {"prompt": PROMPTS, "image": IMAGES, "guidance_scale": 1.0, **NOISES}),
    "two for each pair": (DUAL, {"prompt": PROMPTS, "image": IMAGES, "num_images_per_prompt": 2, "seed": 8}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_versatile(tmp_path_factory.mktemp("versatile"))


@pytest.fixture(scope="module")
def pairs(folder):
    """Ours and diffusers' of each task."""
    return {name: load_both(name, folder) for name in (TEXT, IMAGE, DUAL)}


@pytest.mark.parametrize("name", CALLS)
def test_calls(pairs, name):
    pipeline, call = CALLS[name]
    ours, theirs = pairs[pipeline]
    mine, reference = call_both(ours, theirs, **{**COMMON, **call})
    assert_images_agree(mine.images, reference.images)


def test_the_published_strength_of_guidance(pairs):
    """7.5, and more steps: it amplifies rounding, so the 8-bit levels may differ a little more often."""
    ours, theirs = pairs[DUAL]
    call = {"prompt": PROMPTS[0], "image": IMAGES[0], "num_inference_steps": 20, "output_type": "np", "seed": 4}
    mine, reference = call_both(ours, theirs, **call)
    assert_images_agree(mine.images, reference.images, different=2e-2)


@pytest.mark.parametrize("output_type", ["pil", "pd", "latent"])
def test_output_types(pairs, output_type):
    ours, theirs = pairs[TEXT]
    call = {"prompt": PROMPTS[0], "num_inference_steps": 2, "guidance_scale": 2.0, **NOISE}
    images = ours(output_type=output_type, **{**call, "latents": paddle.to_tensor(call["latents"])}).images
    if output_type == "pil":
        assert images[0].size == (64, 56)
    else:
        theirs_type = {"pd": "pt"}.get(output_type, output_type)
        reference = theirs(output_type=theirs_type, **{**call, "latents": torch.from_numpy(call["latents"])}).images
        np.testing.assert_allclose(images.numpy(), reference.numpy(), atol=1e-4)
    assert isinstance(ours(PROMPTS[0], num_inference_steps=1, return_dict=False), tuple)


def test_callbacks(pairs):
    seen = []
    pairs[TEXT][0](PROMPTS[0], num_inference_steps=4, callback=lambda i, t, latents: seen.append((i, latents.shape)),
         callback_steps=2)  # fmt: skip
    assert seen == [(0, [1, 4, 16, 16]), (2, [1, 4, 16, 16])]


def test_interrupted(pairs):
    """A run can be stopped, and the next one runs to its end."""
    pipe, seen = pairs[TEXT][0], []

    def stop(i, t, latents):
        seen.append(i)
        pipe._interrupt = True

    pipe(PROMPTS[0], num_inference_steps=3, callback=stop)
    assert seen == [0]
    pipe(PROMPTS[0], num_inference_steps=3, callback=lambda i, t, latents: seen.append(i))
    assert seen == [0, 0, 1, 2]


@pytest.mark.parametrize(("part", "stage"), [("image_encoder", "CLIP's encoders"), ("image_unet", "denoising step 0")])
def test_the_first_nan_is_named(folder, caplog, part, stage):
    pipe = load(IMAGE, folder)
    parameter = getattr(pipe, part).parameters()[-1]
    parameter.set_value(paddle.full_like(parameter, float("nan")))
    caplog.set_level(logging.WARNING, logger="ppdiffusers")
    pipe(IMAGES[0], num_inference_steps=2)
    assert f"first appeared in: {stage}" in caplog.text


# -- all tasks at once ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(folder):
    return load("VersatileDiffusionPipeline", folder)


def test_tasks(pairs, whole):
    call = {**COMMON, "generator": 3}
    for name, method, given in (
        (TEXT, whole.text_to_image, {"prompt": PROMPTS}),
        (IMAGE, whole.image_variation, {"image": IMAGES}),
        (DUAL, whole.dual_guided, {"prompt": PROMPTS, "image": IMAGES}),
        (TEXT, whole.text_to_image, {"prompt": PROMPTS[:1]}),
    ):
        expected = pairs[name][0](**given, **call).images
        np.testing.assert_allclose(method(**given, **call).images, expected, atol=1e-5)


def test_tasks_follow_the_components(folder):
    pipe = load("VersatileDiffusionPipeline", folder)
    call = {**COMMON, "generator": 3}
    before = pipe.text_to_image(PROMPTS[0], **call).images
    np.testing.assert_allclose(pipe.text_to_image(PROMPTS[0], **call).images, before, atol=1e-5)
    pipe.scheduler = DDIMScheduler(beta_end=0.03, clip_sample=False)
    after = pipe.text_to_image(PROMPTS[0], **call).images
    assert np.abs(after - before).max() > 0.01


def test_tasks_run_compiled(folder, program_cache, caplog):
    """The share of the text is no constant of the program."""
    caplog.set_level(logging.WARNING, logger="ppdiffusers")
    pipe = load("VersatileDiffusionPipeline", folder)
    call = {"prompt": PROMPTS, "image": IMAGES, "num_inference_steps": 2, "generator": 3, "output_type": "np"}
    eager = [pipe.dual_guided(text_to_image_strength=share, **call).images for share in (0.2, 0.7)]
    pipe.compile(backend="onednn")
    compiled = [pipe.dual_guided(text_to_image_strength=share, **call).images for share in (0.2, 0.7)]
    assert not [r.getMessage() for r in caplog.records if "is not compiled" in r.getMessage()]
    assert any(program_cache.iterdir())
    assert np.abs(eager[0] - eager[1]).max() > 0.01
    for one, other in zip(eager, compiled):
        np.testing.assert_allclose(one, other, atol=2e-3)


# -- bad input --------------------------------------------------------------------------------------------------------

WRONG = {
    "height": 20,
    "num_inference_steps": 0,
    "guidance_scale": float("nan"),
    "num_images_per_prompt": 0,
    "output_type": "jpeg",
    "callback_steps": -1,
}


@pytest.mark.parametrize(
    ("name", "wrong", "named"),
    [
        (TEXT, {"prompt": 3, "negative_prompt": []}, ["prompt", "negative_prompt"]),
        (TEXT, {"prompt": PROMPTS, "negative_prompt": ["a"], "latents": noise((1, 4, 8, 8))}, ["negative_prompt"]),
        (IMAGE, {"image": "a.png", "negative_prompt": 3}, ["image", "negative_prompt"]),
        (IMAGE, {"image": IMAGES, "negative_prompt": IMAGES[0]}, ["negative_prompt"]),
        (DUAL, {"prompt": "", "image": None, "text_to_image_strength": 1.5}, ["image", "text_to_image_strength"]),
        (DUAL, {"prompt": PROMPTS, "image": IMAGES[0], "generator": [1]}, ["image"]),
    ],
)
def test_everything_wrong_is_listed(pairs, name, wrong, named):
    with pytest.raises(InputError) as error:
        pairs[name][0](**{**WRONG, **wrong})
    assert error.value.problems
    for key in (*WRONG, *named):
        assert any(problem.startswith(f"`{key}`") for problem in error.value.problems), key


@pytest.mark.parametrize(
    ("name", "wrong", "named"),
    [
        (TEXT, {"prompt": PROMPTS, "latents": noise((1, 4, 8, 8)), "height": 16, "width": 16}, "latents"),
        (DUAL, {"prompt": PROMPTS, "image": IMAGES, "generator": [1]}, "generator"),
        (IMAGE, {"image": IMAGES, "latents": np.full((2, 4, 16, 16), np.nan, np.float32)}, "latents"),
    ],
)
def test_noise_that_does_not_fit(pairs, name, wrong, named):
    with pytest.raises(InputError, match=f"`{named}`"):
        pairs[name][0](**wrong)


def test_check_inputs(pairs):
    """The methods of diffusers' pipelines, for code that calls them."""
    for name, good, bad in (
        (TEXT, ("a", 16, 16, 1), (None, 7, 16, 0)),
        (IMAGE, (IMAGES, 16, 16, 1), (None, 7, 16, 0)),
        (DUAL, ("a", IMAGES[0], 16, 16, 1), (None, None, 7, 16, 0)),
    ):
        pairs[name][0].check_inputs(*good)
        with pytest.raises(InputError) as error:
            pairs[name][0].check_inputs(*bad)
        assert len(error.value.problems) == len(bad) - 1
