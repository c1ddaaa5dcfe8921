"""StableDiffusionUpscalePipeline against diffusers, live: same folder, image, prompts, noise and steps."""

import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    SCHEDULERS,
    assert_images_agree,
    assert_levels_agree,
    assert_round_trip,
    call_both,
    generators,
    load_both,
    make_image,
    set_schedulers,
)
from tests.support.parity import assert_close, noise
from tests.support.stable_diffusion_2 import tiny_upscaler


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_upscaler(tmp_path_factory.mktemp("upscaler"))


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def pair(loaded):
    set_schedulers(*loaded, "DDIMScheduler")
    return loaded


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers(pair, scheduler):
    set_schedulers(*pair, scheduler)
    mine, reference = call_both(
        *pair, seed=4, prompt=PROMPTS[0], image=make_image(18, 12), num_inference_steps=20, output_type="np"
    )
    assert mine.images.shape == (1, 48, 64, 3)  # 18 is rounded down to 16
    assert_images_agree(mine.images, reference.images)
    assert mine.nsfw_content_detected is None


CALLS = {
    "noise_level 0": {"noise_level": 0},
    "largest noise_level": {"noise_level": 350},
    "without guidance": {"guidance_scale": 1.0},
    "a negative prompt": {"negative_prompt": "low quality, 模糊"},
    "clip_skip": {"clip_skip": 1},
    "eta": {"eta": 0.7},
    "two prompts, two images": {"prompt": PROMPTS, "image": [make_image(16, 12), make_image(16, 12, 1)]},
    "two images for each prompt": {"num_images_per_prompt": 2},
    "a tensor": {"image": np.random.default_rng(0).random((1, 3, 12, 16), np.float32)},
    "given latents": {"latents": noise((1, 4, 12, 16))},
    "embeddings": {
        "prompt": None,
        "image": [make_image(16, 12), make_image(16, 12, 1)],
        "prompt_embeds": noise((2, 77, 32), "prompt"),
        "negative_prompt_embeds": noise((2, 77, 32), "negative"),
    },
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "image": make_image(16, 12), "num_inference_steps": 5, **CALLS[case]}
    mine, reference = call_both(*pair, seed=3, output_type="np", **arguments)
    assert_images_agree(mine.images, reference.images)


def test_one_generator_for_each_image(pair):
    mine, reference = generators(20, count=2)
    settings = {"prompt": PROMPTS, "image": [make_image(16, 12), make_image(16, 12, 1)], "num_inference_steps": 4}
    images = pair[0](generator=mine, output_type="np", **settings).images
    assert_images_agree(images, pair[1](generator=reference, output_type="np", **settings).images)


def test_one_image_for_all_prompts(pair):
    """diffusers fails here; each result equals that of its prompt alone."""
    settings = {"num_inference_steps": 3, "output_type": "np"}
    noises = noise((2, 4, 12, 16))
    together = pair[0](PROMPTS, make_image(16, 12), noise_level=0, latents=noises, generator=0, **settings).images
    for n, prompt in enumerate(PROMPTS):
        alone = pair[0](prompt, make_image(16, 12), noise_level=0, latents=noises[n : n + 1], generator=0, **settings)
        np.testing.assert_allclose(together[n], alone.images[0], atol=1e-4)


def test_output_types_and_callback(pair):
    seen = {"ours": [], "theirs": []}
    mine, reference = generators(3)
    settings = {"prompt": "a", "image": make_image(16, 12), "num_inference_steps": 6, "callback_steps": 2}
    one = pair[0](generator=mine, callback=lambda i, t, x: seen["ours"].append((i, int(t))), **settings).images
    other = pair[1](generator=reference, callback=lambda i, t, x: seen["theirs"].append((i, int(t))), **settings).images
    assert seen["ours"] == seen["theirs"] != []
    assert_levels_agree(np.asarray(one[0]), np.asarray(other[0]))
    mine, reference = call_both(
        *pair, seed=3, prompt="a", image=make_image(16, 12), num_inference_steps=3, output_type="latent"
    )
    assert_close(mine.images, reference.images)


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", image=make_image(12, 16), num_inference_steps=3)


def test_nan_is_logged(pair, caplog):
    unet = pair[0].unet
    pair[0].unet = type(unet).from_config(unet.config)
    pair[0].unet.conv_in.bias.set_value(paddle.full_like(unet.conv_in.bias, float("nan")))
    try:
        pair[0]("a", make_image(16, 12), num_inference_steps=2, generator=0)
    finally:
        pair[0].unet = unet
    assert "first appeared in: denoising step 0 (" in caplog.text


def test_max_noise_level(folder):
    assert ppdiffusers.DiffusionPipeline.from_pretrained(folder).config.max_noise_level == 350
    ours = ppdiffusers.StableDiffusionUpscalePipeline.from_pretrained(folder, max_noise_level=100)
    with pytest.raises(InputError, match="from 0 to 100"):
        ours("a", make_image(16, 12), noise_level=101)


def test_vae_without_scaling_factor(loaded):
    components = dict(loaded[0].components)
    config = {key: value for key, value in components["vae"].config.items() if key != "scaling_factor"}
    with pytest.warns(FutureWarning, match="0.08333"):
        made = ppdiffusers.StableDiffusionUpscalePipeline(
            **{**components, "vae": ppdiffusers.AutoencoderKL.from_config(config)}
        )
    assert made.vae.config.scaling_factor == 0.08333


class Watermarker:
    def apply_watermark(self, images):
        return [one.rotate(180) for one in images]


def test_watermarker_and_safety_checker(pair):
    """As the last stage of DeepFloyd IF, whose safety checker also returns flags for watermarks."""
    settings = {"prompt": "a", "image": make_image(16, 12), "num_inference_steps": 2, "generator": 0}
    plain = pair[0](**settings).images[0]
    ours = ppdiffusers.StableDiffusionUpscalePipeline(**pair[0].components)
    ours.set_progress_bar_config(disable=True)
    ours.watermarker = Watermarker()
    np.testing.assert_array_equal(np.asarray(ours(**settings).images[0]), np.asarray(plain.rotate(180)))
    ours.safety_checker = lambda images, clip_input: (images * 0 + 1, [False], [True])
    ours.feature_extractor = lambda images, return_tensors: {"pixel_values": np.zeros([1, 3, 4, 4], np.float32)}
    result = ours(**settings, output_type="np")
    assert result.nsfw_content_detected == [False] and (result.images == 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None}, "`image` is required"),
        ({"noise_level": 351}, "from 0 to 350"),
        ({"noise_level": -1}, "from 0 to 350"),
        ({"noise_level": 1.5}, "must be a whole number"),
        ({"image": np.zeros((1, 16, 12, 4), np.float32)}, r"4 channel\(s\), the UNet accepts 3"),
        ({"image": [make_image(16, 12)] * 3}, r"`image` has 3 image\(s\), which cannot be repeated for a batch of 1"),
        ({"latents": paddle.zeros([1, 4, 3, 4])}, r"shape \(1, 4, 12, 16\), not \(1, 4, 3, 4\)"),
        ({"callback_steps": 0}, "`callback_steps`"),
        ({"callback_steps": None, "callback": 3}, "must be callable"),
        ({"generator": [1, 2]}, "2 generators for 1"),
        ({"prompt": None}, "neither `prompt`"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    with pytest.raises(InputError, match=message):
        pair[0](**{"prompt": "a", "image": make_image(16, 12), "num_inference_steps": 2, **arguments})
