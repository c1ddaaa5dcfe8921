"""StableDiffusionXLAdapterPipeline against diffusers, live: same folder, prompts, control images, noise and steps."""

import diffusers
import numpy as np
import pytest

import ppdiffusers
from ppdiffusers import StableDiffusionXLAdapterPipeline, T2IAdapter
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import PROMPTS, assert_images_agree, assert_round_trip, call_both, load_both, make_image
from tests.support.parity import noise
from tests.support.stable_diffusion_xl import POOLED, WIDTHS, tiny_scheduler
from tests.support.t2i_adapters import SD, tiny_xl_adapter_pipeline

IMAGE = make_image(40, 24)
SKETCH = make_image(40, 24, 5).convert("L")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_xl_adapter_pipeline(tmp_path_factory.mktemp("one"), 3)


@pytest.fixture(scope="module")
def folder_of_two(tmp_path_factory):
    return tiny_xl_adapter_pipeline(tmp_path_factory.mktemp("two"), 3, 1)


@pytest.fixture
def pair(loaded):
    ours, theirs = loaded
    ours.scheduler = ppdiffusers.EulerDiscreteScheduler.from_config(ours.original_scheduler.config)
    theirs.scheduler = tiny_scheduler()
    return loaded


CALLS = {
    "one image": {},
    "two images": {"num_images_per_prompt": 2, "negative_prompt": "blurry"},
    "an image for each prompt": {
        "prompt": PROMPTS,
        "prompt_2": ["a cat", "a red circle"],
        "image": [make_image(32, 48, 1), make_image(32, 48, 2)],
    },
    "without guidance": {"guidance_scale": 1.0, "num_images_per_prompt": 2},
    "scale and half of the steps": {"adapter_conditioning_scale": 0.4, "adapter_conditioning_factor": 0.5},
    "no step": {"adapter_conditioning_factor": 0.0},
    "denoising_end": {"denoising_end": 0.6, "num_inference_steps": 7, "adapter_conditioning_factor": 0.5},
    "another size": {"height": 48, "width": 32, "guidance_rescale": 0.7},
    "sizes": {
        "original_size": (50, 70),
        "crops_coords_top_left": (3, 9),
        "target_size": (64, 40),
        "negative_original_size": (20, 30),
        "negative_crops_coords_top_left": (5, 1),
        "negative_target_size": (24, 56),
    },
    "a tensor, given latents": {"image": noise((1, 3, 24, 40)), "latents": noise((1, 4, 12, 20))},
    "embeddings": {
        "prompt": None,
        "prompt_embeds": noise((1, 77, sum(WIDTHS)), "prompt"),
        "pooled_prompt_embeds": noise((1, POOLED), "pooled"),
        "negative_prompt": "a",
        "clip_skip": 1,
    },
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {"prompt": PROMPTS[1], "image": IMAGE, "num_inference_steps": 4, "output_type": "np", **CALLS[case]}
    mine, reference = call_both(*pair, **({} if "latents" in arguments else {"seed": 3}), **arguments)
    assert_images_agree(mine.images, reference.images)


def test_the_factor_of_a_scheduler_with_two_timesteps_for_a_step(pair):
    """A factor of 1 is all steps; diffusers stops in the middle, so it is called with twice the factor."""
    ours, theirs = pair
    ours.scheduler = ppdiffusers.HeunDiscreteScheduler.from_config(ours.scheduler.config)
    theirs.scheduler = diffusers.HeunDiscreteScheduler.from_config(theirs.scheduler.config)
    settings = {"prompt": PROMPTS[0], "image": IMAGE, "num_inference_steps": 4, "output_type": "np"}
    for factor in (1.0, 0.5):
        mine, _ = call_both(ours, theirs, seed=3, adapter_conditioning_factor=factor, **settings)
        _, reference = call_both(ours, theirs, seed=3, adapter_conditioning_factor=2 * factor, **settings)
        assert_images_agree(mine.images, reference.images)


def test_the_adapter_has_an_effect(pair):
    settings = {"prompt": PROMPTS[0], "image": IMAGE, "num_inference_steps": 3, "generator": 1, "output_type": "np"}
    images = [pair[0](**settings, adapter_conditioning_factor=factor).images for factor in (0.0, 0.5, 1.0)]
    assert np.abs(images[0] - images[1]).max() > 0.02 and np.abs(images[1] - images[2]).max() > 0.02


def test_two_adapters(folder_of_two):
    pipes = load_both(folder_of_two)
    for scales, more in (([0.4, 1.1], {}), ([1.0, 1.0], {"guidance_scale": 1.0, "num_images_per_prompt": 2})):
        mine, reference = call_both(
            *pipes, seed=3, prompt=PROMPTS[1], image=[IMAGE, SKETCH], num_inference_steps=3, output_type="np",
            adapter_conditioning_scale=scales, **more,
        )  # fmt: skip
        assert_images_agree(mine.images, reference.images)
    made = StableDiffusionXLAdapterPipeline(
        **(pipes[0].components | {"adapter": list(pipes[0].adapter.adapters)})
    )  # fmt: skip
    assert type(made.adapter).__name__ == "MultiAdapter" and made.watermark is None


def test_conversion_both_ways(folder_of_two, tmp_path):
    assert_round_trip(
        folder_of_two, tmp_path, prompt=PROMPTS[0], image=[IMAGE, SKETCH], num_inference_steps=2,
        adapter_conditioning_scale=[0.6, 0.4],
    )  # fmt: skip


def test_invalid_arguments_are_listed_together(pair):
    with pytest.raises(InputError) as error:
        pair[0](
            PROMPTS, ["one"], [IMAGE] * 3, height=12, adapter_conditioning_scale=[1.0, 2.0], denoising_end=1.5,
            adapter_conditioning_factor=float("nan"), ip_adapter_image=IMAGE,
        )  # fmt: skip
    text = str(error.value)
    for part in ("`image` has 3 images for 2 prompt(s)", "`prompt_2` has 1", "`height` must be a positive",
                 "`adapter_conditioning_scale` has 2", "`denoising_end`", "`adapter_conditioning_factor`",
                 "no IP-Adapter is loaded"):  # fmt: skip
        assert part in text


def test_an_adapter_of_stable_diffusion(pair):
    ours, _ = pair
    other = StableDiffusionXLAdapterPipeline.from_pipe(ours, adapter=T2IAdapter(**SD))
    with pytest.raises(InputError, match="residual 0 has 32 channels at 1/2 of the size, the UNet 16 channels at 1/4"):
        other("a", image=IMAGE)
