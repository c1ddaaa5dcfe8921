"""StableDiffusionInstructPix2PixPipeline against diffusers, live."""

import diffusers
import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers.core.errors import ConfigError, InputError
from tests.pipelines.support import (
    PROMPTS,
    SCHEDULERS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    generators,
    make_image,
    set_schedulers,
)
from tests.support.checkpoints import tiny_stable_diffusion, tiny_stable_diffusion_as
from tests.support.parity import assert_close, noise

IMAGE = make_image(38, 33)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sd")
    return tiny_stable_diffusion_as(path, diffusers.StableDiffusionInstructPix2PixPipeline, in_channels=8)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers(pair, scheduler):
    set_schedulers(*pair, scheduler)
    mine, reference = call_both(*pair, seed=4, prompt=PROMPTS[0], image=IMAGE, num_inference_steps=20, output_type="np")
    assert mine.images.shape == (1, 32, 38, 3)
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected == reference.nsfw_content_detected == [False]


CALLS = {
    "other scales": {"guidance_scale": 4.0, "image_guidance_scale": 2.5},
    "image_guidance_scale 1": {"image_guidance_scale": 1.0},
    "guidance_scale 1": {"guidance_scale": 1.0},
    "image_guidance_scale below 1": {"image_guidance_scale": 0.9},
    "a negative prompt": {"negative_prompt": "low quality"},
    "eta": {"eta": 0.7, "scheduler": "DDIMScheduler"},
    "two prompts, one image": {"prompt": PROMPTS},
    "two prompts, two images": {"prompt": PROMPTS, "image": [IMAGE, make_image(38, 33, 1)]},
    "two images for each prompt": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "a tensor": {"image": np.random.default_rng(0).random((1, 3, 32, 24), np.float32)},
    "latents": {"image": noise((1, 4, 12, 16), "image")},
    "given noise": {"latents": noise((1, 4, 16, 19))},
    "embeddings": {
        "prompt": None,
        "prompt_embeds": noise((2, 77, 32), "prompt"),
        "negative_prompt_embeds": noise((2, 77, 32), "negative"),
    },
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "image": IMAGE, "num_inference_steps": 5, **CALLS[case]}
    set_schedulers(*pair, arguments.pop("scheduler", "PNDMScheduler"))
    mine, reference = call_both(*pair, seed=3, output_type="np", **arguments)
    assert_images_agree(mine.images, reference.images)


def test_one_generator_for_each_image(pair):
    set_schedulers(*pair, "EulerAncestralDiscreteScheduler")
    mine, reference = generators(20, count=4)
    settings = {"prompt": PROMPTS, "image": IMAGE, "num_images_per_prompt": 2, "num_inference_steps": 4}
    images = pair[0](generator=mine, output_type="np", **settings).images
    assert_images_agree(images, pair[1](generator=reference, output_type="np", **settings).images)


def test_callback_replaces_the_image(pair):
    def change(pipeline, index, timestep, tensors):
        assert set(tensors) == {"latents", "image_latents"} and pipeline.image_guidance_scale == 1.5
        return {"latents": tensors["latents"] * 0.98, "image_latents": tensors["image_latents"] + 0.02}

    mine, reference = call_both(
        *pair, seed=3, prompt="a", image=IMAGE, num_inference_steps=5, output_type="latent",
        callback_on_step_end=change, callback_on_step_end_tensor_inputs=["latents", "image_latents"],
    )  # fmt: skip
    assert_close(mine.images, reference.images, 1e-4)


def test_prompt_settings(pair):
    def generate(prompt, **settings):
        return pair[0](prompt, IMAGE, num_inference_steps=2, generator=0, output_type="np", **settings).images

    long = "a red circle on a white background, " * 20
    assert np.abs(generate(long, long_prompts="split") - generate(long)).max() > 1e-3
    assert np.abs(generate("a (red:1.5) circle") - generate("a (red:1.5) circle", prompt_syntax="webui")).max() > 1e-3


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", image=IMAGE, num_inference_steps=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None, "image_guidance_scale": "high"}, "(?s)`image` is required.*`image_guidance_scale` must be"),
        ({"num_inference_steps": 0}, "`num_inference_steps` must be a whole number"),
        (
            {"prompt": ["a"] * 3, "image": [IMAGE] * 2},
            r"`image` has 2 image\(s\), which cannot be repeated for a batch of 3",
        ),
        ({"latents": paddle.zeros([1, 4, 8, 8])}, r"`latents` must be of shape \(1, 4, 16, 19\)"),
        ({"callback_on_step_end_tensor_inputs": ["mask"]}, "'mask'"),
        ({"ip_adapter_image": IMAGE}, "no IP-Adapter"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    with pytest.raises(InputError, match=message):
        pair[0](**{"prompt": "a", "image": IMAGE, "num_inference_steps": 2, **arguments})


def test_unet_without_image_channels(tmp_path):
    folder = tiny_stable_diffusion(tmp_path, safety_checker=False)
    pipeline = ppdiffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(folder)
    with pytest.raises(ConfigError, match="accepts 4 channels; latents and image have 8"):
        pipeline("a", IMAGE, num_inference_steps=2)


def test_nan_of_the_vae_encoder_is_logged(pair, caplog):
    bias = pair[0].vae.encoder.conv_in.bias
    before = bias.clone()
    bias.set_value(paddle.full_like(bias, float("nan")))
    try:
        pair[0]("a", IMAGE, num_inference_steps=2, generator=0, output_type="np")
    finally:
        bias.set_value(before)
    assert "first appeared in: the VAE's encoder" in caplog.text
