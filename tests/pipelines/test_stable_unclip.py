"""Stable unCLIP against diffusers, live: the prior, noised image embeddings, image variations guided by a prompt."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import DiffusionPipeline, StableUnCLIPImg2ImgPipeline, StableUnCLIPPipeline
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
from tests.support.parity import assert_close, noise
from tests.support.stable_unclip import tiny_stable_unclip, tiny_stable_unclip_img2img
from tests.support.unclip import WIDTH

SIZE = {"height": 24, "width": 40}
STEPS = {"num_inference_steps": 4, **SIZE}
PRIOR_STEPS = {"prior_num_inference_steps": 3, **STEPS}
IMAGE, OTHER = make_image(50, 36, seed=1), make_image(32, 44, seed=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_unclip(tmp_path_factory.mktemp("stable-unclip"))


@pytest.fixture(scope="module")
def variation_folder(tmp_path_factory):
    return tiny_stable_unclip_img2img(tmp_path_factory.mktemp("stable-unclip"))


@pytest.fixture(scope="module")
def text_to_image(folder):
    return load_both(folder)


@pytest.fixture(scope="module")
def variation(variation_folder):
    return load_both(variation_folder)


def compare(pair, **call):
    ours, theirs = call_both(*pair, seed=3, output_type="np", **call)
    assert_images_agree(ours.images, theirs.images)
    return ours.images


# -- text to image ----------------------------------------------------------------------------------------------------

CALLS = {
    "guided": {"prompt": PROMPTS, "num_images_per_prompt": 2, "negative_prompt": ["模糊", ""]},
    "unguided": {"prompt": PROMPTS[0], "prior_guidance_scale": 1.0, "guidance_scale": 1.0, "num_images_per_prompt": 2},
    "noise level": {"prompt": PROMPTS, "noise_level": 400, "eta": 0.5, "clip_skip": 1},
    "given noise": {
        "prompt": PROMPTS,
        "prior_latents": noise((2, WIDTH), "prior"),
        "latents": noise((2, 4, 12, 20), "latents"),
    },
}


@pytest.mark.parametrize("case", CALLS)
def test_text_to_image(text_to_image, case):
    assert type(text_to_image[0]) is StableUnCLIPPipeline
    compare(text_to_image, **PRIOR_STEPS, **CALLS[case])


def test_the_noise_level_has_an_effect(text_to_image):
    images = [compare(text_to_image, prompt=PROMPTS, noise_level=level, **PRIOR_STEPS) for level in (0, 700)]
    assert np.abs(images[0] - images[1]).max() > 0.02


def test_callback(text_to_image):
    """It gets the steps of the prior, then those of the latents."""
    calls = ([], [])
    for pipeline, seen, generator in zip(text_to_image, calls, (3, torch.Generator().manual_seed(3)), strict=True):
        pipeline(
            PROMPTS[0], **PRIOR_STEPS, generator=generator, callback_steps=2, output_type="latent",
            callback=lambda index, t, x, seen=seen: seen.append((index, int(t), np.asarray(x))),
        )  # fmt: skip
    assert [(index, t) for index, t, _ in calls[0]] == [(index, t) for index, t, _ in calls[1]]
    for (_, _, mine), (_, _, reference) in zip(*calls, strict=True):
        assert_close(mine, reference, 1e-3)


def test_noise_image_embeddings(text_to_image):
    embeds, drawn = noise((2, WIDTH), "embeds"), noise((2, WIDTH), "drawn")
    ours, theirs = text_to_image
    for level in (0, 250, 999):
        mine = ours.noise_image_embeddings(paddle.to_tensor(embeds), level, paddle.to_tensor(drawn))
        with torch.no_grad():
            reference = theirs.noise_image_embeddings(torch.from_numpy(embeds), level, torch.from_numpy(drawn))
        assert mine.shape == [2, 2 * WIDTH]
        assert_close(mine, reference)


def test_invalid_arguments_are_listed_together(text_to_image):
    with pytest.raises(InputError) as error:
        text_to_image[0](
            prompt_embeds=paddle.zeros([1, 77, 32]), height=12, noise_level=1000, prior_num_inference_steps=0,
            prior_guidance_scale="high", eta="low",
        )  # fmt: skip
    for part in ("the prior encodes it", "`height`", "`noise_level` must be a whole number from 0 to 999",
                 "`prior_num_inference_steps`", "`prior_guidance_scale`", "`eta`"):  # fmt: skip
        assert part in str(error.value)
    with pytest.raises(InputError, match=r"shape \(1, 3\)"):
        text_to_image[0](PROMPTS[0], prior_latents=paddle.zeros([1, 3]), **PRIOR_STEPS)


# -- image variation --------------------------------------------------------------------------------------------------

VARIATIONS = {
    "one image": {"image": IMAGE, "num_images_per_prompt": 2},
    "one image, two prompts": {"image": IMAGE, "prompt": PROMPTS, "num_images_per_prompt": 2, "noise_level": 300},
    "an image for each prompt": {"image": [IMAGE, OTHER], "prompt": PROMPTS, "num_images_per_prompt": 2},
    "images without prompts": {"image": [IMAGE, OTHER], "guidance_scale": 1.0, "noise_level": 100},
    "a tensor": {"image": noise((2, 3, 32, 32), "pixels"), "prompt": PROMPTS, "negative_prompt": ["", "模糊"]},
    "embeddings": {"image_embeds": noise((2, WIDTH), "embeds"), "prompt": PROMPTS, "noise_level": 50},
}


@pytest.mark.parametrize("case", VARIATIONS)
def test_image_variation(variation, case):
    assert type(variation[0]) is StableUnCLIPImg2ImgPipeline
    set_schedulers(*variation, "DDIMScheduler")
    compare(variation, **STEPS, **VARIATIONS[case])


def test_given_latents_are_not_scaled(variation):
    """With a scheduler whose initial noise is not 1."""
    set_schedulers(*variation, "EulerDiscreteScheduler")
    assert float(variation[0].scheduler.init_noise_sigma) > 2
    latents = noise((1, 4, 12, 20), "latents") * 8
    compare(variation, image=IMAGE, prompt=PROMPTS[0], latents=latents, **STEPS)


def test_invalid_images(variation):
    ours = variation[0]
    embeds = paddle.zeros([2, WIDTH])
    for arguments, message in (
        ({}, "neither `image` nor `image_embeds`"),
        ({"image": IMAGE, "image_embeds": embeds}, "both given"),
        ({"image": [IMAGE, OTHER, IMAGE]}, r"`image` has 3 image\(s\) for 2 prompt"),
        ({"image": "image.png"}, "`image` must be a PIL image"),
        ({"image_embeds": embeds[0]}, "`image_embeds` must be a Paddle tensor"),
        ({"image_embeds": embeds[:1]}, r"`image_embeds` has 1 image\(s\) for 2 prompt"),
    ):
        with pytest.raises(InputError, match=message):
            ours(prompt=PROMPTS, **arguments, **STEPS)


# -- formats ----------------------------------------------------------------------------------------------------------


def test_round_trips(folder, variation_folder, tmp_path):
    for source, call in ((folder, {"prompt": PROMPTS, **PRIOR_STEPS}), (variation_folder, {"image": IMAGE, **STEPS})):
        target = tmp_path / source.name
        target.mkdir()
        assert_round_trip(source, target, **call)


def test_the_normalizer_is_converted(folder):
    ours, theirs = (
        p.from_pretrained(folder).image_normalizer for p in (DiffusionPipeline, diffusers.DiffusionPipeline)
    )
    embeds = noise((3, WIDTH))
    for name in ("scale", "unscale"):
        reference = getattr(theirs, name)(torch.from_numpy(embeds)).detach()
        assert_close(getattr(ours, name)(paddle.to_tensor(embeds)), reference)
