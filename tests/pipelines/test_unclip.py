"""unCLIP against diffusers, live: three stages, guidance, given outputs of the text encoder, image variations."""

import numpy as np
import paddle
import PIL.Image
import pytest
import torch

from ppdiffusers import DiffusionPipeline, UnCLIPImageVariationPipeline, UnCLIPPipeline
from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.resampling import resize_bicubic_antialiased
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    load_both,
    make_image,
)
from tests.support.parity import assert_close, noise
from tests.support.unclip import LARGE, SMALL, WIDTH, tiny_unclip, tiny_unclip_variation

STEPS = {"decoder_num_inference_steps": 4, "super_res_num_inference_steps": 3}
PRIOR_STEPS = {"prior_num_inference_steps": 5, **STEPS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_unclip(tmp_path_factory.mktemp("unclip"))


@pytest.fixture(scope="module")
def variation_folder(tmp_path_factory):
    return tiny_unclip_variation(tmp_path_factory.mktemp("unclip"))


@pytest.fixture(scope="module")
def text_to_image(folder):
    return load_both(folder)


@pytest.fixture(scope="module")
def variation(variation_folder):
    return load_both(variation_folder)


def compare(pair, **call):
    ours, theirs = call_both(*pair, seed=3, output_type="np", **call)
    assert_images_agree(ours.images, theirs.images)
    assert ours.images.std() > 0.02  # not clipped to one value
    return ours.images


# -- text to image ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        {"prompt": PROMPTS, "num_images_per_prompt": 2},
        {"prompt": PROMPTS[0], "prior_guidance_scale": 1.0, "decoder_guidance_scale": 1.0},
        {"prompt": PROMPTS, "prior_guidance_scale": 1.0, "decoder_guidance_scale": 3.0},
    ],
    ids=["guided", "unguided", "decoder guided"],
)
def test_images_agree(text_to_image, call):
    images = compare(text_to_image, **PRIOR_STEPS, **call)
    count = call.get("num_images_per_prompt", 1) * (1 if isinstance(call["prompt"], str) else 2)
    assert images.shape == (count, LARGE, LARGE, 3)


def test_given_noise(text_to_image):
    latents = {
        "prior_latents": noise((2, WIDTH), "prior"),
        "decoder_latents": noise((2, 3, SMALL, SMALL), "decoder"),
        "super_res_latents": noise((2, 3, LARGE, LARGE), "upscaler"),
    }
    images = compare(text_to_image, prompt=PROMPTS, **PRIOR_STEPS, **latents)
    others = compare(text_to_image, prompt=PROMPTS, **PRIOR_STEPS)
    assert np.abs(images - others).max() > 0.05


def test_given_outputs_of_the_text_encoder(text_to_image):
    """Interpolation between prompts, as in the unCLIP text interpolation of diffusers' examples."""
    ours, theirs = text_to_image
    embeds, states = noise((2, WIDTH), "embeds"), noise((2, 77, WIDTH), "states")
    mask = np.ones((2, 77), dtype=bool)
    mask[1, 30:] = False
    found = ours(
        text_model_output=(paddle.to_tensor(embeds), paddle.to_tensor(states)),
        text_attention_mask=paddle.to_tensor(mask),
        generator=5,
        output_type="np",
        **PRIOR_STEPS,
    ).images
    expected = theirs(
        text_model_output=(torch.from_numpy(embeds), torch.from_numpy(states)),
        text_attention_mask=torch.from_numpy(mask),
        generator=torch.Generator().manual_seed(5),
        output_type="np",
        **PRIOR_STEPS,
    ).images
    assert_images_agree(found, expected)


def test_types_of_output(text_to_image):
    ours, _ = text_to_image
    call = {"prompt": "cats", "generator": 1, **PRIOR_STEPS}
    images = ours(**call).images
    assert isinstance(images[0], PIL.Image.Image) and images[0].size == (LARGE, LARGE)
    (array,) = ours(**call, output_type="np", return_dict=False)
    np.testing.assert_array_equal(np.asarray(images[0]), (array[0] * 255).round().astype(np.uint8))
    assert ours(**call, output_type="pd").images.shape == [1, 3, LARGE, LARGE]


def test_long_prompts_are_truncated_with_a_warning(text_to_image, caplog):
    compare(text_to_image, prompt=f"{PROMPTS[1]} " * 30, **PRIOR_STEPS)
    assert "truncated" in caplog.text


def test_conversion(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt=PROMPTS, **PRIOR_STEPS)


def test_loading_by_class(folder):
    assert isinstance(DiffusionPipeline.from_pretrained(folder), UnCLIPPipeline)


def test_bad_arguments(text_to_image):
    ours, _ = text_to_image
    with pytest.raises(InputError) as error:
        ours(
            prompt=["a", 3],
            num_images_per_prompt=0,
            prior_num_inference_steps=0,
            decoder_guidance_scale=float("nan"),
            output_type="png",
        )
    for part in ("prompt[1]", "num_images_per_prompt", "prior_num_inference_steps", "decoder_guidance_scale", "png"):
        assert part in str(error.value)
    with pytest.raises(InputError) as error:
        ours(
            prompt="a",
            prior_latents=paddle.zeros([1, 3]),
            decoder_latents=paddle.zeros([2, 3, SMALL, SMALL]),
            super_res_latents=paddle.full([1, 3, LARGE, LARGE], float("inf")),
        )
    for part in ("`prior_latents`", "`decoder_latents`", "`super_res_latents` contains NaN"):
        assert part in str(error.value)
    with pytest.raises(InputError, match="neither `prompt` nor `text_model_output`"):
        ours()
    with pytest.raises(InputError, match="requires `text_attention_mask`"):
        ours(text_model_output=(paddle.zeros([1, WIDTH]), paddle.zeros([1, 77, WIDTH])))


# -- image variation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [8.0, 1.0])
def test_variations_agree(variation, scale):
    images = [make_image(50, 36), make_image(40, 40, seed=1)]
    found = compare(variation, image=images, num_images_per_prompt=2, decoder_guidance_scale=scale, **STEPS)
    assert found.shape == (4, LARGE, LARGE, 3)


def test_variations_of_tensors_and_embeddings(variation):
    compare(variation, image=noise((2, 3, 32, 32), "pixels"), **STEPS)
    compare(variation, image_embeddings=noise((2, WIDTH), "embeds"), num_images_per_prompt=2, **STEPS)


def test_variation_conversion(variation_folder, tmp_path):
    assert isinstance(DiffusionPipeline.from_pretrained(variation_folder), UnCLIPImageVariationPipeline)
    assert_round_trip(variation_folder, tmp_path, image=make_image(40, 30), **STEPS)


def test_bad_images(variation):
    ours, _ = variation
    for image, message in (
        (None, "neither `image` nor `image_embeddings`"),
        ("a.png", "`image` must be a PIL image"),
        ([], "`image` must be a PIL image"),
        (paddle.zeros([3, 8, 8]), "`image` must be a PIL image"),
    ):
        with pytest.raises(InputError, match=message):
            ours(image=image)


# -- upscaling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(28, 31), (64, 7), (13, 17), (5, 4)])
def test_bicubic_with_antialiasing(size):
    image = noise((2, 3, 13, 17))
    expected = torch.nn.functional.interpolate(torch.from_numpy(image), size, mode="bicubic", antialias=True)
    assert_close(resize_bicubic_antialiased(paddle.to_tensor(image), size), expected, relative=1e-5)
