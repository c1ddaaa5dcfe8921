"""CycleDiffusionPipeline against diffusers, live."""

import diffusers
import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    generators,
    load_both,
    make_image,
)
from tests.support.checkpoints import tiny_stable_diffusion_as
from tests.support.parity import noise

IMAGE = make_image(38, 33)
SOURCE = "a photograph of an astronaut riding a horse"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sd")
    return tiny_stable_diffusion_as(path, diffusers.CycleDiffusionPipeline, scheduler="DDIMScheduler")


@pytest.fixture(scope="module")
def pair(folder):
    return load_both(folder)


CALLS = {
    "20 steps": {"num_inference_steps": 20},
    "all of it": {"strength": 1.0},
    "little": {"strength": 0.3},
    "much noise": {"eta": 1.0},
    "hardly any noise": {"eta": 0.01},
    "guidance by the source": {"guidance_scale": 3.0, "source_guidance_scale": 2.0},
    "without guidance": {"guidance_scale": 1.0},
    "two prompts without guidance": {
        "prompt": PROMPTS,
        "source_prompt": [SOURCE, "two cats"],
        "image": [IMAGE, make_image(38, 33, 1)],
        "guidance_scale": 1.0,
    },
    "two images for a prompt, without guidance": {"num_images_per_prompt": 2, "guidance_scale": 1.0},
    "a tensor": {"image": np.random.default_rng(0).random((1, 3, 32, 24), np.float32)},
    "latents": {"image": noise((1, 4, 12, 16), "image")},
    "clip_skip": {"clip_skip": 1},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    settings = {"prompt": PROMPTS[1], "source_prompt": SOURCE, "image": IMAGE, "num_inference_steps": 6}
    mine, reference = call_both(*pair, seed=3, output_type="np", **{**settings, **CALLS[case]})
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected == reference.nsfw_content_detected


def test_each_image_of_several_is_as_if_alone(pair):
    """With guidance the original mixes prompts and their negatives up: the first of a batch is compared alone."""
    settings = {"num_inference_steps": 5, "output_type": "np", "image": IMAGE}
    sources = [SOURCE, "a small blue square"]
    together = pair[0](PROMPTS, sources, generator=generators(20, count=2)[0], **settings).images
    for n, (prompt, source) in enumerate(zip(PROMPTS, sources, strict=True)):
        alone = pair[1](prompt, source, generator=generators(20 + n)[1], **settings).images
        assert_images_agree(together[n : n + 1], alone)


def test_embeddings_instead_of_the_prompt(pair):
    """The original takes them beside a prompt only, which it counts."""
    ours = pair[0]
    embeds, _ = ours.encode_prompt("a red circle", None, 1, False)
    settings = {"source_prompt": SOURCE, "image": IMAGE, "num_inference_steps": 3, "output_type": "np"}
    by_text = ours("a red circle", generator=0, guidance_scale=1.0, **settings).images
    by_embeds = ours(None, prompt_embeds=embeds, generator=0, guidance_scale=1.0, **settings).images
    np.testing.assert_array_equal(by_embeds, by_text)


def test_the_same_prompt_gives_the_image_back(pair):
    """The noise that was found leads back to what the VAE keeps of the image, whatever the strength."""
    ours = pair[0]
    settings = {"image": noise((1, 4, 12, 16), "image") * 0.5, "num_inference_steps": 8, "output_type": "latent"}
    settings["image"] = paddle.to_tensor(settings["image"])
    back = ours("a red circle", "a red circle", guidance_scale=1.0, generator=0, **settings).images
    np.testing.assert_allclose(back.numpy(), settings["image"].numpy(), atol=2e-3)


def test_a_last_step_without_noise(pair):
    """`set_alpha_to_one` leaves the last step no noise: the original divides by zero there."""
    ours = pair[0]
    before, ours.scheduler = ours.scheduler, ppdiffusers.DDIMScheduler.from_config(
        ours.scheduler.config, set_alpha_to_one=True
    )  # fmt: skip
    try:
        images = ours("a", "b", IMAGE, num_inference_steps=4, generator=0, output_type="np").images
    finally:
        ours.scheduler = before
    assert np.isfinite(images).all() and images.std() > 0.05


def test_round_trip(folder, tmp_path):
    assert_round_trip(
        folder, tmp_path, prompt="a", source_prompt="b", image=IMAGE, num_inference_steps=3, strength=0.7
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source_prompt": None, "image": None}, "(?s)`source_prompt` is needed.*`image` is required"),
        ({"source_prompt": ["a", "b"]}, r"`source_prompt` has 2 text\(s\) for 1 prompt"),
        ({"source_prompt": 3}, "`source_prompt` must be a text"),
        ({"eta": 0.0}, "`eta` must lie above 0"),
        ({"eta": "some"}, "`eta` must be a finite number"),
        ({"strength": 1.2}, "`strength` must be between"),
        ({"prompt": None}, "neither `prompt` nor `prompt_embeds`"),
    ],
)
def test_bad_arguments(pair, arguments, message):
    settings = {"prompt": "a", "source_prompt": "b", "image": IMAGE, "num_inference_steps": 2}
    with pytest.raises(InputError, match=message):
        pair[0](**{**settings, **arguments})


def test_another_scheduler(pair):
    ours = pair[0]
    before, ours.scheduler = ours.scheduler, ppdiffusers.PNDMScheduler()
    try:
        with pytest.raises(InputError, match="must be a DDIMScheduler, not PNDMScheduler"):
            ours("a", "b", IMAGE)
    finally:
        ours.scheduler = before
