"""StableDiffusionImg2ImgPipeline against diffusers, live: same folder, image, prompts, noise and steps."""

import diffusers
import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    SCHEDULERS,
    assert_images_agree,
    assert_round_trip,
    call_both,
    generators,
    load_classes,
    make_image,
    set_schedulers,
)
from tests.support.checkpoints import tiny_stable_diffusion, tiny_stable_diffusion_as
from tests.support.parity import assert_close, noise


def load(folder):
    return load_classes(folder, StableDiffusionImg2ImgPipeline, diffusers.StableDiffusionImg2ImgPipeline)


@pytest.fixture(scope="module", params=["sd1", "sd2"])
def variant(request, tmp_path_factory):
    return load(tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), variant=request.param, safety_checker=False))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load(tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers(variant, scheduler):
    set_schedulers(*variant, scheduler)
    mine, reference = call_both(
        *variant, seed=4, prompt=PROMPTS[0], image=make_image(38, 33), num_inference_steps=20, strength=0.6,
        output_type="np",
    )  # fmt: skip
    assert mine.images.shape == (1, 32, 38, 3)
    assert_images_agree(mine.images, reference.images)


OTHERS = (
    *(
        "HeunDiscreteScheduler",
        "KDPM2DiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
    ),  # two per step
    *("DPMSolverSinglestepScheduler", "DEISMultistepScheduler", "SASolverScheduler"),
    *("LCMScheduler", "TCDScheduler", "EDMEulerScheduler"),
)


@pytest.mark.parametrize("scheduler", OTHERS)
def test_other_schedulers(pair, scheduler):
    ours, theirs = pair
    ours.scheduler = getattr(ppdiffusers, scheduler).from_config(ours.original_scheduler.config)
    theirs.scheduler = getattr(diffusers, scheduler).from_config(theirs.original_scheduler.config)
    mine, reference = call_both(
        ours,
        theirs,
        seed=4,
        prompt="a",
        image=make_image(32, 32),
        num_inference_steps=8,
        strength=0.6,
        output_type="np",
    )
    assert_images_agree(mine.images, reference.images)


def test_scheduler_without_add_noise(pair):
    ours, _ = pair
    ours.scheduler = ppdiffusers.IPNDMScheduler()
    with pytest.raises(InputError, match="IPNDMScheduler cannot add noise to an image"):
        ours("a", make_image(16, 16))


CALLS = {
    "low strength": {"strength": 0.2},
    "full strength": {"strength": 1.0},
    "between two steps": {"strength": 0.55},
    "without guidance": {"guidance_scale": 1.0},
    "a negative prompt": {"negative_prompt": "low quality, 模糊"},
    "clip_skip": {"clip_skip": 1},
    "eta": {"eta": 0.7, "scheduler": "DDIMScheduler"},
    "two prompts, one image": {"prompt": PROMPTS},
    "two prompts, two images": {"prompt": PROMPTS, "image": [make_image(32, 24), make_image(32, 24, 1)]},
    "two images for each prompt": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "an array": {"image": np.asarray(make_image(24, 32), np.float32)[None] / 255, "tensor": False},
    "a tensor": {"image": np.random.default_rng(0).random((1, 3, 32, 24), np.float32)},
    "latents": {"image": noise((1, 4, 12, 16))},
    "embeddings": {
        "prompt": None,
        "prompt_embeds": noise((2, 77, 32), "prompt"),
        "negative_prompt_embeds": noise((2, 77, 32), "negative"),
    },
    "explicit timesteps": {"timesteps": [900, 500, 300, 100], "scheduler": "EulerDiscreteScheduler"},
    "explicit sigmas": {"sigmas": [14.0, 6.0, 2.0, 0.3, 0.0], "scheduler": "EulerDiscreteScheduler"},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "image": make_image(32, 32), "num_inference_steps": 7, **CALLS[case]}
    set_schedulers(*pair, arguments.pop("scheduler", "PNDMScheduler"))
    if not arguments.pop("tensor", True):
        array = arguments.pop("image")
        mine, reference = generators(3)
        results = [
            p(image=array, generator=g, output_type="np", **arguments)
            for p, g in zip(pair, (mine, reference), strict=True)
        ]
    else:
        results = call_both(*pair, seed=3, output_type="np", **arguments)
    assert_images_agree(results[0].images, results[1].images)


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "EulerAncestralDiscreteScheduler", "DDPMScheduler"])
def test_one_generator_for_each_image(pair, scheduler):
    """Each draws the latents, the noise and the steps of its image."""
    set_schedulers(*pair, scheduler)
    mine, reference = generators(20, count=4)
    settings = {"prompt": PROMPTS, "image": make_image(32, 32), "num_images_per_prompt": 2, "num_inference_steps": 4}
    images = pair[0](generator=mine, output_type="np", **settings).images
    assert_images_agree(images, pair[1](generator=reference, output_type="np", **settings).images)


def test_callbacks(pair):
    seen = {"ours": [], "theirs": []}

    def listener(side):
        def listen(pipeline, index, timestep, tensors):
            seen[side].append((index, int(timestep), pipeline.num_timesteps))
            return {"latents": tensors["latents"] * 0.98}

        return listen

    mine, reference = generators(3)
    settings = {"prompt": "a", "image": make_image(32, 32), "num_inference_steps": 6, "output_type": "latent"}
    images = pair[0](generator=mine, callback_on_step_end=listener("ours"), **settings).images
    expected = pair[1](generator=reference, callback_on_step_end=listener("theirs"), **settings).images
    assert_close(images, expected, 1e-4)
    assert seen["ours"] == seen["theirs"]


def test_from_pipe_shares_components(pair):
    text_to_image = StableDiffusionPipeline.from_pipe(pair[0])
    again = StableDiffusionImg2ImgPipeline.from_pipe(text_to_image)
    assert all(again.components[name] is component for name, component in pair[0].components.items())


def test_round_trip(tmp_path):
    folder = tiny_stable_diffusion_as(tmp_path / "source", diffusers.StableDiffusionImg2ImgPipeline)
    assert_round_trip(folder, tmp_path, prompt="a", image=make_image(32, 32), num_inference_steps=4)


PROMPT_SETTINGS = {
    "weights": {"prompt": "a (red:1.4) circle, [black]", "prompt_syntax": "webui"},
    "long prompt": {"prompt": "a red circle, " * 40},
    "long prompt, truncated": {"prompt": "a red circle, " * 40, "long_prompts": "truncate"},
    "long prompt, split": {"prompt": "a red circle, " * 40, "long_prompts": "split"},
}


@pytest.mark.parametrize("case", PROMPT_SETTINGS)
def test_prompts_and_their_embeddings_give_the_same_image(pair, case):
    ours = pair[0]
    call = dict(PROMPT_SETTINGS[case])
    settings = {"image": make_image(32, 32), "num_inference_steps": 3, "strength": 0.7, "output_type": "np"}
    by_prompt = ours(generator=0, **call, **settings).images
    embeds, negative = ours.encode_prompt(call.pop("prompt"), None, 1, True, **call)
    by_embeds = ours(generator=0, prompt_embeds=embeds, negative_prompt_embeds=negative, **settings).images
    np.testing.assert_array_equal(by_prompt, by_embeds)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None}, "`image` is required"),
        ({"image": "cat.png"}, "`image` must be a PIL image"),
        ({"strength": 1.5}, "`strength` must be between 0 and 1"),
        ({"strength": "high"}, "`strength` must be a finite number"),
        ({"strength": 0.1, "num_inference_steps": 5}, "leaves no step"),
        ({"prompt": ["a", "b"], "generator": [1, 2, 3]}, "3 generators for 2"),
        (
            {"prompt": ["a", "b"], "image": [make_image(16, 16)] * 3},
            r"`image` has 3 image\(s\), which cannot be repeated for a batch of 2",
        ),
        ({"ip_adapter_image": make_image(16, 16)}, "no IP-Adapter"),
        ({"callback_on_step_end": 1}, "must be callable"),
        ({"callback_on_step_end_tensor_inputs": ["mask"]}, "'mask'"),
        ({"image": torch.zeros(1, 3, 16, 16)}, "not Tensor"),
    ],
)
def test_invalid_arguments(pair, arguments, message):
    with pytest.raises(InputError, match=message):
        pair[0](**{"prompt": "a", "image": make_image(16, 16), "num_inference_steps": 2, **arguments})


def test_nan_of_the_vae_encoder_is_logged(pair, caplog):
    ours, _ = pair
    bias = ours.vae.encoder.conv_in.bias
    before = bias.clone()
    bias.set_value(paddle.full_like(bias, float("nan")))
    try:
        ours("a", make_image(16, 16), num_inference_steps=2, generator=0, output_type="np")
    finally:
        bias.set_value(before)
    assert "first appeared in: the VAE's encoder" in caplog.text
