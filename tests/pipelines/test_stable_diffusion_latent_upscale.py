"""StableDiffusionLatentUpscalePipeline against diffusers, live: same folder, latents or image, prompts and noise."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_levels_agree,
    assert_round_trip,
    call_both,
    generators,
    load_both,
    make_image,
)
from tests.support.parity import assert_close, noise
from tests.support.stable_diffusion_2 import tiny_latent_upscaler


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_latent_upscaler(tmp_path_factory.mktemp("upscaler"))


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def pair(loaded):
    set_scheduler(*loaded)
    return loaded


def set_scheduler(ours, theirs, name="EulerDiscreteScheduler", **settings):
    ours.scheduler = getattr(ppdiffusers, name).from_config(ours.original_scheduler.config, **settings)
    theirs.scheduler = getattr(diffusers, name).from_config(theirs.original_scheduler.config, **settings)


SMALL = noise((1, 4, 8, 12), "small")


@pytest.mark.parametrize(
    ("scheduler", "settings"),
    [
        ("EulerDiscreteScheduler", {}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("EulerDiscreteScheduler", {"timestep_spacing": "trailing"}),
        ("HeunDiscreteScheduler", {}),
        ("LMSDiscreteScheduler", {}),
    ],
)
def test_schedulers(pair, scheduler, settings):
    set_scheduler(*pair, scheduler, **settings)
    mine, reference = call_both(*pair, seed=4, prompt=PROMPTS[0], image=SMALL, num_inference_steps=20, output_type="np")
    assert mine.images.shape == (1, 32, 48, 3)
    assert_images_agree(mine.images, reference.images)


CALLS = {
    "an image": {"image": make_image(24, 16)},
    "two images": {"prompt": PROMPTS, "image": [make_image(24, 16), make_image(24, 16, 1)]},
    "two latents": {"prompt": PROMPTS, "image": noise((2, 4, 8, 8), "small")},
    "without guidance": {"guidance_scale": 1.0},
    "without the prompt": {"guidance_scale": 0},
    "a negative prompt": {"negative_prompt": "low quality, 模糊"},
    "given latents": {"latents": noise((1, 4, 16, 24))},
    "embeddings": {
        "prompt": None,
        "prompt_embeds": noise((1, 77, 32), "prompt"),
        "negative_prompt_embeds": noise((1, 77, 32), "negative"),
        "pooled_prompt_embeds": noise((1, 32), "pooled"),
        "negative_pooled_prompt_embeds": noise((1, 32), "negative pooled"),
    },
    "embeddings without guidance": {
        "prompt": None,
        "guidance_scale": 1,
        "prompt_embeds": noise((1, 77, 32), "prompt"),
        "pooled_prompt_embeds": noise((1, 32), "pooled"),
    },
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "image": SMALL, "num_inference_steps": 6, **CALLS[case]}
    mine, reference = call_both(*pair, seed=3, output_type="np", **arguments)
    assert_images_agree(mine.images, reference.images)


def test_guidance_scale_0_ignores_the_prompt(pair):
    settings = {"image": paddle.to_tensor(SMALL), "num_inference_steps": 2, "generator": 0, "output_type": "np"}
    images = [pair[0](prompt, guidance_scale=0, **settings).images for prompt in ("a cat", "a dog", "")]
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[0], images[2])
    assert np.abs(pair[0]("a cat", guidance_scale=1, **settings).images - images[0]).max() > 1e-3


def test_encode_prompt(pair):
    mine = pair[0].encode_prompt(PROMPTS, pair[0].device, True, ["ugly", "x"])
    with torch.no_grad():
        reference = pair[1].encode_prompt(PROMPTS, pair[1].device, True, ["ugly", "x"])
    for ours, theirs in zip(mine, reference, strict=True):
        assert_close(ours, theirs)
    assert pair[0].encode_prompt("a", pair[0].device, False)[1::2] == (None, None)


def test_long_prompts_are_truncated(pair, caplog):
    mine, reference = call_both(
        *pair, seed=3, prompt="horse " * 100 + "zebra", image=SMALL, num_inference_steps=3, output_type="np"
    )
    assert_images_agree(mine.images, reference.images)
    assert "truncated" in caplog.text and "zebra" in caplog.text
    assert "long_prompts" not in caplog.text, "this pipeline does not support it"


def test_one_generator_for_each_image(pair):
    mine, reference = generators(20, count=2)
    settings = {"prompt": PROMPTS, "image": [make_image(24, 16), make_image(24, 16, 1)], "num_inference_steps": 4}
    images = pair[0](generator=mine, output_type="np", **settings).images
    assert_images_agree(images, pair[1](generator=reference, output_type="np", **settings).images)


def test_inputs_that_diffusers_does_not_support(pair):
    """Latents of one image for two prompts; latents without a batch dimension."""
    small = paddle.to_tensor(SMALL)
    settings = {"num_inference_steps": 2, "output_type": "np", "guidance_scale": 3}
    latents = noise((2, 4, 16, 24))
    together = pair[0](PROMPTS, small, latents=latents, **settings).images
    for n, prompt in enumerate(PROMPTS):
        alone = pair[0](prompt, small[0], latents=latents[n : n + 1], **settings).images[0]
        np.testing.assert_allclose(together[n], alone, atol=1e-4)


def test_output_types_and_callback(pair):
    seen = {"ours": [], "theirs": []}
    mine, reference = generators(3)
    settings = {"prompt": "a", "num_inference_steps": 6, "callback_steps": 2}
    one = pair[0](
        image=paddle.to_tensor(SMALL),
        generator=mine,
        callback=lambda i, t, x: seen["ours"].append((i, int(t))),
        **settings,
    )
    other = pair[1](
        image=torch.from_numpy(SMALL),
        generator=reference,
        callback=lambda i, t, x: seen["theirs"].append((i, int(t))),
        **settings,
    )
    assert seen["ours"] == seen["theirs"] != []
    assert_levels_agree(np.asarray(one.images[0]), np.asarray(other.images[0]))
    mine, reference = call_both(
        *pair, seed=3, prompt="a", image=SMALL, num_inference_steps=3, output_type="latent", return_dict=False
    )
    assert_close(mine[0], reference[0])


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", image=SMALL, num_inference_steps=3)


def test_nan_is_logged(pair, caplog):
    unet = pair[0].unet
    pair[0].unet = type(unet).from_config(unet.config)
    pair[0].unet.conv_in.bias.set_value(paddle.full_like(unet.conv_in.bias, float("nan")))
    try:
        pair[0]("a", paddle.to_tensor(SMALL), num_inference_steps=2, generator=0)
    finally:
        pair[0].unet = unet
    assert "first appeared in: denoising step 0 (" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None}, "`image` is required"),
        ({"image": make_image(20, 16)}, r"multiples of 8 pixels \(latents: 4\) .* are 8 x 10"),
        ({"image": paddle.zeros([1, 4, 4, 8])}, "at least twice that; its latents are 4 x 8"),
        ({"image": paddle.zeros([3, 4, 8, 8])}, r"`image` has 3 image\(s\), which cannot be repeated for a batch of 1"),
        ({"latents": paddle.zeros([1, 4, 8, 12])}, r"shape \(1, 4, 16, 24\), not \(1, 4, 8, 12\)"),
        ({"prompt": None, "prompt_embeds": paddle.zeros([1, 77, 32])}, "`pooled_prompt_embeds` are required"),
        (
            {"negative_prompt_embeds": paddle.zeros([1, 77, 32])},
            "`negative_pooled_prompt_embeds` are required",
        ),
        ({"callback_steps": 0}, "`callback_steps`"),
        ({"callback": 3}, "must be callable"),
        ({"generator": [1, 2]}, "2 generators for 1"),
        ({"prompt": None}, "neither `prompt`"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    with pytest.raises(InputError, match=message):
        pair[0](**{"prompt": "a", "image": paddle.to_tensor(SMALL), "num_inference_steps": 2, **arguments})


def test_scheduler_without_sigmas(pair):
    pair[0].scheduler = ppdiffusers.DDIMScheduler()
    with pytest.raises(InputError, match="DDIMScheduler has no `sigmas`"):
        pair[0]("a", paddle.to_tensor(SMALL), num_inference_steps=2)
