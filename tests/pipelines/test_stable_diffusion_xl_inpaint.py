"""StableDiffusionXLInpaintPipeline, with UNets of 4 and 9 channels and as refiner, against diffusers, live."""

import diffusers
import numpy as np
import pytest

import ppdiffusers
from ppdiffusers import StableDiffusionXLInpaintPipeline
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_levels_agree,
    assert_round_trip,
    box_mask,
    call_both,
    generators,
    load_both,
    make_image,
)
from tests.support.parity import noise
from tests.support.stable_diffusion_xl import tiny_scheduler, tiny_stable_diffusion_xl

INPAINT = diffusers.StableDiffusionXLInpaintPipeline
MASKED = {"image": make_image(40, 48), "mask_image": box_mask(40, 48, (4, 8, 30, 40))}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        channels: tiny_stable_diffusion_xl(tmp_path_factory.mktemp(f"unet{channels}"), INPAINT, in_channels=channels)
        for channels in (4, 9)
    }


@pytest.fixture(scope="module")
def refiner(tmp_path_factory):
    settings = {"refiner": True, "seed": 9, "requires_aesthetics_score": True}
    return load_both(tiny_stable_diffusion_xl(tmp_path_factory.mktemp("refiner"), INPAINT, **settings))


@pytest.fixture(scope="module")
def loaded(folders):
    return {channels: load_both(folder) for channels, folder in folders.items()}


@pytest.fixture
def pairs(loaded):
    for ours, theirs in loaded.values():
        ours.scheduler = ppdiffusers.EulerDiscreteScheduler.from_config(ours.original_scheduler.config)
        theirs.scheduler = tiny_scheduler()
    return loaded


CALLS = {
    "defaults": {},
    "two prompts, two images each": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "wide, without guidance": {"height": 16, "width": 48, "guidance_scale": 1.0, "prompt": PROMPTS},
    "strength": {"strength": 0.5, "negative_prompt": "blurry", "guidance_rescale": 0.5, "num_inference_steps": 6},
    "strength 1": {"strength": 1.0},
    "given latents": {"latents": noise((1, 4, 16, 16))},
    "sizes": {"original_size": (50, 70), "target_size": (64, 40), "negative_target_size": (24, 56), "clip_skip": 1},
    "denoising_end": {"denoising_end": 0.7, "num_inference_steps": 6},
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("channels", [4, 9])
def test_calls(pairs, channels, case):
    arguments = {"prompt": PROMPTS[1], "num_inference_steps": 4, "output_type": "np", **MASKED, **CALLS[case]}
    mine, reference = call_both(*pairs[channels], seed=3, **arguments)
    assert_images_agree(mine.images, reference.images)


def test_masked_image_latents(pairs):
    arguments = {"prompt": PROMPTS[1], "num_inference_steps": 4, "output_type": "np", **MASKED}
    mine, reference = call_both(*pairs[9], seed=3, masked_image_latents=noise((1, 4, 16, 16)), **arguments)
    assert_images_agree(mine.images, reference.images)


def test_crop(pairs):
    arguments = {"prompt": PROMPTS[1], "num_inference_steps": 4, "padding_mask_crop": 3, **MASKED}
    mine, reference = call_both(*pairs[4], seed=3, **arguments)
    assert mine.images[0].size == (40, 48)
    assert_levels_agree(np.asarray(mine.images[0]), np.asarray(reference.images[0]))


def test_base_and_refiner(pairs, refiner):
    """The refiner inpaints the latents that the base has begun."""
    results = []
    for generator, first, second in zip(generators(3), pairs[4], refiner, strict=True):
        settings = {"prompt": PROMPTS, "num_inference_steps": 7, "generator": generator}
        mask = MASKED["mask_image"]
        latents = first(**settings, **MASKED, denoising_end=0.7, output_type="latent").images
        result = second(**settings, image=latents, mask_image=mask, denoising_start=0.7, output_type="np")
        results.append(result.images)
    assert_images_agree(*results)


def test_callback_replaces_the_mask(pairs):
    def change(pipeline, index, timestep, tensors):
        return {"mask": tensors["mask"] * 0 + 1, "masked_image_latents": tensors["masked_image_latents"] * 0.5}

    arguments = {"prompt": PROMPTS[1], "num_inference_steps": 3, "output_type": "np", **MASKED}
    mine, reference = call_both(
        *pairs[9], seed=3, callback_on_step_end=change, **arguments,
        callback_on_step_end_tensor_inputs=["latents", "mask", "masked_image_latents"],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_all_problems_are_in_one_message(pairs):
    with pytest.raises(InputError) as caught:
        pairs[4][0](PROMPTS, prompt_2=["a"], strength=2, height=12, padding_mask_crop=3, output_type="np")
    for part in ("`prompt_2` has 1", "`image`", "`mask_image`", "`strength`", "`height`", "`output_type`"):
        assert part in str(caught.value)


def test_conversion_and_saving(folders, tmp_path):
    assert_round_trip(folders[9], tmp_path, prompt=PROMPTS[0], num_inference_steps=2, **MASKED)


def test_from_pipe(pairs):
    made = ppdiffusers.AutoPipelineForImage2Image.from_pipe(pairs[4][0])
    back = ppdiffusers.AutoPipelineForInpainting.from_pipe(made)
    assert type(back) is StableDiffusionXLInpaintPipeline and back.unet is pairs[4][0].unet
