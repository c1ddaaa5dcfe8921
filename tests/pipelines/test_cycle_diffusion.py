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
    "full strength": {"strength": 1.0},
    "low strength": {"strength": 0.3},
    "eta 1": {"eta": 1.0},
    "small eta": {"eta": 0.01},
    "source_guidance_scale": {"guidance_scale": 3.0, "source_guidance_scale": 2.0},
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


def test_batch_equals_single_images(pair):
    """diffusers mixes up the prompts of a batch with guidance, therefore its images are generated one by one."""
    settings = {"num_inference_steps": 5, "output_type": "np", "image": IMAGE}
    sources = [SOURCE, "a small blue square"]
    together = pair[0](PROMPTS, sources, generator=generators(20, count=2)[0], **settings).images
    for n, (prompt, source) in enumerate(zip(PROMPTS, sources, strict=True)):
        alone = pair[1](prompt, source, generator=generators(20 + n)[1], **settings).images
        assert_images_agree(together[n : n + 1], alone)


def test_prompt_embeds(pair):
    """diffusers requires a prompt in addition to the embeddings."""
    ours = pair[0]
    embeds, _ = ours.encode_prompt("a red circle", None, 1, False)
    settings = {"source_prompt": SOURCE, "image": IMAGE, "num_inference_steps": 3, "output_type": "np"}
    by_prompt = ours("a red circle", generator=0, guidance_scale=1.0, **settings).images
    by_embeds = ours(None, prompt_embeds=embeds, generator=0, guidance_scale=1.0, **settings).images
    np.testing.assert_array_equal(by_embeds, by_prompt)


def test_same_prompts_reconstruct_the_image(pair):
    """The computed noise leads back to the latents of the image."""
    ours = pair[0]
    settings = {"image": noise((1, 4, 12, 16), "image") * 0.5, "num_inference_steps": 8, "output_type": "latent"}
    settings["image"] = paddle.to_tensor(settings["image"])
    back = ours("a red circle", "a red circle", guidance_scale=1.0, generator=0, **settings).images
    np.testing.assert_allclose(back.numpy(), settings["image"].numpy(), atol=2e-3)


def test_last_step_without_noise(pair):
    """With `set_alpha_to_one` the last step has no noise; diffusers divides by zero there."""
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
    assert_round_trip(folder, tmp_path, prompt="a", source_prompt="b", image=IMAGE, num_inference_steps=3, strength=0.7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source_prompt": None, "image": None}, "(?s)`source_prompt` is required.*`image` is required"),
        ({"source_prompt": ["a", "b"]}, r"`source_prompt` has 2 entries for 1 prompt"),
        ({"source_prompt": 3}, "`source_prompt` must be a string"),
        ({"eta": 0.0}, "`eta` must be above 0"),
        ({"eta": "small"}, "`eta` must be a finite number"),
        ({"strength": 1.2}, "`strength` must be between"),
        ({"prompt": None}, "neither `prompt` nor `prompt_embeds`"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    settings = {"prompt": "a", "source_prompt": "b", "image": IMAGE, "num_inference_steps": 2}
    with pytest.raises(InputError, match=message):
        pair[0](**{**settings, **arguments})


def test_other_schedulers_are_rejected(pair):
    ours = pair[0]
    before, ours.scheduler = ours.scheduler, ppdiffusers.PNDMScheduler()
    try:
        with pytest.raises(InputError, match="must be a DDIMScheduler, not PNDMScheduler"):
            ours("a", "b", IMAGE)
    finally:
        ours.scheduler = before
