"""StableDiffusionDepth2ImgPipeline against diffusers, live: same folder, image, prompts, noise and steps."""

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers.core.errors import InputError
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
from tests.support.parity import assert_close, noise
from tests.support.stable_diffusion_2 import tiny_depth2img


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_depth2img(tmp_path_factory.mktemp("depth"))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers(pair, scheduler):
    set_schedulers(*pair, scheduler)
    mine, reference = call_both(
        *pair, seed=4, prompt=PROMPTS[0], image=make_image(38, 33), num_inference_steps=20, strength=0.6,
        output_type="np",
    )  # fmt: skip
    assert mine.images.shape == (1, 32, 38, 3)
    assert_images_agree(mine.images, reference.images)


DEPTH = np.random.default_rng(1).random((1, 20, 31), np.float32)
CALLS = {
    "full strength": {"strength": 1.0},
    "without guidance": {"guidance_scale": 1.0},
    "a negative prompt": {"negative_prompt": "low quality, 模糊"},
    "clip_skip": {"clip_skip": 1},
    "eta": {"eta": 0.7, "scheduler": "DDIMScheduler"},
    "a depth map": {"depth_map": DEPTH},
    "two prompts, one image": {"prompt": PROMPTS},
    "two prompts, two images": {"prompt": PROMPTS, "image": [make_image(32, 24), make_image(32, 24, 1)]},
    "two images for each prompt": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "a tensor": {"image": np.random.default_rng(0).random((1, 3, 32, 24), np.float32)},
    "embeddings": {
        "prompt": None,
        "prompt_embeds": noise((2, 77, 32), "prompt"),
        "negative_prompt_embeds": noise((2, 77, 32), "negative"),
    },
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "image": make_image(32, 32), "num_inference_steps": 7, **CALLS[case]}
    set_schedulers(*pair, arguments.pop("scheduler", "PNDMScheduler"))
    mine, reference = call_both(*pair, seed=3, output_type="np", **arguments)
    assert_images_agree(mine.images, reference.images)


def test_one_generator_for_each_image(pair):
    mine, reference = generators(20, count=4)
    settings = {"prompt": PROMPTS, "image": make_image(32, 32), "num_images_per_prompt": 2, "num_inference_steps": 4}
    images = pair[0](generator=mine, output_type="np", **settings).images
    assert_images_agree(images, pair[1](generator=reference, output_type="np", **settings).images)


def test_prepare_depth_map(pair):
    ours, theirs = pair
    given = make_image(48, 32)
    mine = ours.prepare_depth_map(given, None, 2, True, paddle.float32, ours.device)
    with torch.no_grad():
        reference = theirs.prepare_depth_map(given, None, 2, True, torch.float32, theirs.device)
    assert mine.shape == [4, 1, 16, 24] and float(mine.min()) == -1
    assert_close(mine, reference)


def test_inputs_that_diffusers_does_not_support(pair):
    """A non-square array, a tensor without a batch dimension, a list of batches, and latents."""
    ours, _ = pair
    given = np.random.default_rng(0).random((32, 24, 3), np.float32)
    usual = paddle.to_tensor(given.transpose(2, 0, 1)[None])
    settings = {"num_inference_steps": 3, "output_type": "np", "generator": 0}
    expected = ours("a", usual, **settings).images
    for form in (given, usual[0], [usual]):
        np.testing.assert_array_equal(ours("a", form, **settings).images, expected)
    latents, depth = paddle.to_tensor(noise((1, 4, 16, 12))), paddle.to_tensor(DEPTH)
    assert ours("a", latents, depth, **settings).images.shape == (1, 32, 24, 3)
    with pytest.raises(InputError, match="pass `depth_map`"):
        ours("a", latents, **settings)


def test_callbacks(pair):
    seen = {"ours": [], "theirs": []}

    def listener(side):
        def listen(pipeline, index, timestep, tensors):
            seen[side].append((index, int(timestep), pipeline.num_timesteps))
            return {"latents": tensors["latents"] * 0.98, "depth_mask": tensors["depth_mask"] * 0.9}

        return listen

    names = ["latents", "depth_mask"]
    mine, reference = generators(3)
    settings = {
        "prompt": "a", "image": make_image(32, 32), "num_inference_steps": 6, "output_type": "latent",
        "callback_on_step_end_tensor_inputs": names,
    }  # fmt: skip
    images = pair[0](generator=mine, callback_on_step_end=listener("ours"), **settings).images
    (expected,) = pair[1](generator=reference, callback_on_step_end=listener("theirs"), return_dict=False, **settings)
    assert_close(images, expected, 1e-4)
    assert seen["ours"] == seen["theirs"] != []


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", image=make_image(32, 24), num_inference_steps=3)


def test_nan_is_logged(pair, caplog):
    unet = pair[0].unet
    pair[0].unet = type(unet).from_config(unet.config)
    pair[0].unet.conv_in.bias.set_value(paddle.full_like(unet.conv_in.bias, float("nan")))
    try:
        pair[0]("a", make_image(16, 16), num_inference_steps=2, generator=0)
    finally:
        pair[0].unet = unet
    assert "first appeared in: denoising step 0 (" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None}, "`image` is required"),
        ({"strength": 1.5}, "`strength` must be between 0 and 1"),
        ({"strength": 0.1, "num_inference_steps": 5}, "leaves no step"),
        ({"depth_map": "close"}, "`depth_map` must be a Paddle tensor"),
        ({"depth_map": paddle.zeros([1, 1, 4, 4])}, r"not \(1, 1, 4, 4\)"),
        ({"depth_map": paddle.full([1, 4, 4], float("nan"))}, "`depth_map` contains NaN"),
        ({"depth_map": paddle.ones([1, 4, 4])}, "is constant"),
        ({"depth_map": paddle.to_tensor(np.repeat(DEPTH, 3, 0))}, r"`depth_map` has 3 image\(s\)"),
        ({"prompt": ["a", "b"], "generator": [1, 2, 3]}, "3 generators for 2"),
        ({"callback_on_step_end": 1}, "must be callable"),
        ({"callback_on_step_end_tensor_inputs": ["mask"]}, "'mask'"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    with pytest.raises(InputError, match=message):
        pair[0](**{"prompt": "a", "image": make_image(16, 16), "num_inference_steps": 2, **arguments})
