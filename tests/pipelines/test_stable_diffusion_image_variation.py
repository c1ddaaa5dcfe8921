"""StableDiffusionImageVariationPipeline against diffusers, live."""

import diffusers
import numpy as np
import paddle
import pytest
import transformers

from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    SCHEDULERS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    generators,
    make_image,
    set_schedulers,
)
from tests.support.checkpoints import scheduler_named, tiny_feature_extractor, tiny_safety_checker, tiny_unet, tiny_vae
from tests.support.parity import noise, randomize

IMAGE = make_image(45, 38)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    config = transformers.CLIPVisionConfig(
        hidden_size=48,
        intermediate_size=40,
        projection_dim=32,  # the width of the UNet's cross-attention
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=8,
    )
    pipeline = diffusers.StableDiffusionImageVariationPipeline(
        vae=tiny_vae(),
        image_encoder=randomize(transformers.CLIPVisionModelWithProjection(config), 1),
        unet=tiny_unet(seed=2),
        scheduler=scheduler_named("PNDMScheduler"),
        safety_checker=tiny_safety_checker("nothing", 3),
        feature_extractor=tiny_feature_extractor(),
    )
    folder = tmp_path_factory.mktemp("variation") / "sd"
    pipeline.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers(pair, scheduler):
    set_schedulers(*pair, scheduler)
    mine, reference = call_both(*pair, seed=4, image=IMAGE, num_inference_steps=20, output_type="np")
    assert mine.images.shape == (1, 32, 32, 3)
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected == reference.nsfw_content_detected == [False]


CALLS = {
    "wide": {"height": 24, "width": 40},
    "height alone": {"height": 24},
    "without guidance": {"guidance_scale": 1.0},
    "strong": {"guidance_scale": 15.0},
    "eta": {"eta": 0.7, "scheduler": "DDIMScheduler"},
    "two images": {"image": [IMAGE, make_image(30, 60, 1)]},
    "two variations of each": {"image": [IMAGE, make_image(30, 60, 1)], "num_images_per_prompt": 2},
    "a tensor": {"image": noise((2, 3, 32, 32), "pixels")},
    "given noise": {"latents": noise((1, 4, 16, 16))},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"image": IMAGE, "num_inference_steps": 5, **CALLS[case]}
    set_schedulers(*pair, arguments.pop("scheduler", "PNDMScheduler"))
    mine, reference = call_both(*pair, seed=3, output_type="np", **arguments)
    assert_images_agree(mine.images, reference.images)


def test_one_generator_for_each_image(pair):
    set_schedulers(*pair, "EulerAncestralDiscreteScheduler")
    mine, reference = generators(20, count=2)
    settings = {"image": IMAGE, "num_images_per_prompt": 2, "num_inference_steps": 4, "output_type": "np"}
    assert_images_agree(pair[0](generator=mine, **settings).images, pair[1](generator=reference, **settings).images)


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path, image=IMAGE, num_inference_steps=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.zeros((8, 8, 3)), "height": 30}, "(?s)`image` must be a PIL.*`height` must be a positive mult"),
        ({"image": []}, "`image` must be a PIL image"),
        ({"callback_steps": 0}, "`callback_steps` must be a whole number"),
        ({"latents": paddle.zeros([2, 4, 16, 16])}, r"`latents` must be of shape \(1, 4, 16, 16\)"),
        ({"generator": [1, 2]}, "2 generators for 1"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    with pytest.raises(InputError, match=message):
        pair[0](**{"image": IMAGE, "num_inference_steps": 2, **arguments})


def test_nan_of_the_image_encoder_is_logged(pair, caplog):
    weight = pair[0].image_encoder.visual_projection.weight
    before = weight.clone()
    weight.set_value(paddle.full_like(weight, float("nan")))
    try:
        pair[0](IMAGE, num_inference_steps=2, generator=0, output_type="np")
    finally:
        weight.set_value(before)
    assert "first appeared in: the image encoder" in caplog.text
