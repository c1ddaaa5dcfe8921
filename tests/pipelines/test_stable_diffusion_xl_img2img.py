"""StableDiffusionXLImg2ImgPipeline, also as refiner, against diffusers, live."""

import diffusers
import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
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
from tests.support.parity import noise
from tests.support.stable_diffusion_xl import POOLED, WIDTHS, tiny_scheduler, tiny_stable_diffusion_xl

IMAGE = make_image(32, 48)
IMG2IMG = diffusers.StableDiffusionXLImg2ImgPipeline


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return load_both(tiny_stable_diffusion_xl(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def refiner_folder(tmp_path_factory):
    return tiny_stable_diffusion_xl(
        tmp_path_factory.mktemp("refiner"), IMG2IMG, refiner=True, seed=9, requires_aesthetics_score=True
    )


@pytest.fixture(scope="module")
def loaded_refiner(refiner_folder):
    return load_both(refiner_folder)


def with_euler(ours, theirs):
    ours.scheduler = ppdiffusers.EulerDiscreteScheduler.from_config(ours.original_scheduler.config)
    theirs.scheduler = tiny_scheduler()
    return ours, theirs


@pytest.fixture
def refiner(loaded_refiner):
    return with_euler(*loaded_refiner)


@pytest.fixture(scope="module")
def of_base(base):
    ours = StableDiffusionXLImg2ImgPipeline.from_pipe(base[0])
    theirs = IMG2IMG(**base[1].components)
    for pipeline, source in zip((ours, theirs), base, strict=True):
        pipeline.set_progress_bar_config(disable=True)
        pipeline.original_scheduler = source.original_scheduler
    return ours, theirs


@pytest.fixture
def pair(of_base):
    return with_euler(*of_base)


CALLS = {
    "defaults": {},
    "two prompts, two images each": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "two images": {"prompt": PROMPTS, "image": [make_image(32, 32, 1), make_image(32, 32, 2)]},
    "latents of an image": {"image": noise((1, 4, 12, 16), "image")},
    "given latents": {"latents": noise((1, 4, 10, 14))},
    "strength 1": {"strength": 1.0},
    "without guidance": {"guidance_scale": 1.0, "prompt": PROMPTS},
    "second prompts, rescale, clip_skip": {
        "prompt": PROMPTS,
        "prompt_2": "a cat",
        "negative_prompt": "blurry",
        "guidance_rescale": 0.6,
        "clip_skip": 1,
    },
    "sizes": {
        "prompt": PROMPTS,
        "original_size": (50, 70),
        "crops_coords_top_left": (3, 9),
        "target_size": (64, 40),
        "negative_original_size": (20, 30),
        "negative_crops_coords_top_left": (5, 1),
    },
    "denoising_start": {"denoising_start": 0.6, "num_inference_steps": 7},
    "denoising_start and denoising_end": {"denoising_start": 0.3, "denoising_end": 0.8, "num_inference_steps": 9},
}


def adjusted(case):
    """diffusers does not repeat a string for the second text encoder."""
    if isinstance(case.get("prompt_2"), str) and isinstance(case.get("prompt"), list):
        return {**case, "prompt_2": [case["prompt_2"]] * len(case["prompt"])}
    return case


@pytest.mark.parametrize("case", CALLS)
def test_calls(pair, case):
    arguments = {
        "prompt": PROMPTS[1], "image": IMAGE, "strength": 0.6, "num_inference_steps": 5, "output_type": "np",
        **adjusted(CALLS[case]),
    }  # fmt: skip
    mine, reference = call_both(*pair, seed=3, **arguments)
    assert_images_agree(mine.images, reference.images)


REFINER_CALLS = {
    "defaults": {"prompt": PROMPTS, "num_images_per_prompt": 2},
    "scores": {"aesthetic_score": 8.5, "negative_aesthetic_score": 1.0},
    "sizes": {
        "original_size": (50, 70),
        "crops_coords_top_left": (3, 9),
        "negative_original_size": (20, 30),
        "negative_crops_coords_top_left": (5, 1),
        "negative_prompt": "blurry",
    },
    "denoising_start": {"denoising_start": 0.5, "guidance_scale": 1.0, "num_inference_steps": 6},
}


@pytest.mark.parametrize("case", REFINER_CALLS)
def test_refiner(refiner, case):
    """The refiner has the second text encoder only."""
    assert refiner[0].text_encoder is None and refiner[0].tokenizer is None
    arguments = {
        "prompt": PROMPTS[1], "image": IMAGE, "strength": 0.6, "num_inference_steps": 5, "output_type": "np",
        **REFINER_CALLS[case],
    }  # fmt: skip
    mine, reference = call_both(*refiner, seed=3, **arguments)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize(
    "scheduler", ["EulerDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_base_and_refiner(base, refiner, scheduler):
    """The base runs the first 70 % of the noise schedule, the refiner the rest."""
    results = []
    for library, generator, first, second in zip((ppdiffusers, diffusers), generators(3), base, refiner, strict=True):
        for pipeline in (first, second):
            pipeline.scheduler = getattr(library, scheduler).from_config(pipeline.original_scheduler.config)
        settings = {"prompt": PROMPTS, "num_inference_steps": 7, "generator": generator}
        latents = first(**settings, denoising_end=0.7, output_type="latent").images
        results.append(second(**settings, image=latents, denoising_start=0.7, output_type="np").images)
    assert_images_agree(*results)


def test_one_generator_for_each_image(pair):
    mine, reference = generators(20, count=4)
    settings = {"prompt": PROMPTS, "image": IMAGE, "num_images_per_prompt": 2, "num_inference_steps": 4}
    settings |= {"strength": 0.5, "output_type": "np"}
    assert_images_agree(pair[0](generator=mine, **settings).images, pair[1](generator=reference, **settings).images)


def test_arguments_of_the_base_are_errors_for_a_refiner(refiner):
    with pytest.raises(InputError) as caught:
        refiner[0](
            PROMPTS,
            image=IMAGE,
            prompt_2="a cat",
            negative_prompt_2="blurry",
            target_size=(8, 8),
            negative_target_size=(8, 8),
            negative_prompt_embeds=paddle.zeros([2, 77, sum(WIDTHS)]),
            denoising_start=0.8,
            denoising_end=0.8,
        )
    message = str(caught.value)
    for part in (
        "`prompt_2` is for the second",
        "`negative_prompt_2` is for the second",
        "`target_size` has no effect",
        "`negative_target_size` has no effect",
        f"`negative_prompt_embeds` has {sum(WIDTHS)} channels, the UNet accepts {WIDTHS[1]}",
        "`negative_prompt_embeds` requires `negative_pooled_prompt_embeds`",
        "`denoising_start` 0.8 must be less than `denoising_end` 0.8",
    ):
        assert part in message


def test_wrong_setting_of_the_refiner(refiner):
    ours = refiner[0]
    wrong = StableDiffusionXLImg2ImgPipeline.from_pipe(ours, requires_aesthetics_score=False)
    with pytest.raises(InputError, match=r"requires_aesthetics_score=True") as caught:
        wrong("a", image=IMAGE)
    assert f"a pooled embedding of {POOLED} channels with 6 numbers" in str(caught.value)


def test_float16_images_are_encoded_in_float32(pair, monkeypatch, half_kernels):
    vae = pair[0].vae
    seen = []
    encode = type(vae).encode
    monkeypatch.setattr(type(vae), "encode", lambda self, x, *a, **k: seen.append(x.dtype) or encode(self, x, *a, **k))
    vae.to(dtype="float16")
    try:
        images = pair[0]("a", image=IMAGE, num_inference_steps=4, generator=0, output_type="np").images
    finally:
        vae.to(dtype="float32")
    assert seen == [paddle.float32] and np.isfinite(images).all()


def test_refiner_is_converted_and_saved(refiner_folder, tmp_path):
    assert_round_trip(refiner_folder, tmp_path, prompt=PROMPTS[0], image=IMAGE, num_inference_steps=5)
    again = ppdiffusers.DiffusionPipeline.from_pretrained(tmp_path / "saved")
    assert again.config.requires_aesthetics_score is True


def test_from_pipe(base):
    made = ppdiffusers.AutoPipelineForImage2Image.from_pipe(base[0])
    assert type(made) is StableDiffusionXLImg2ImgPipeline and made.unet is base[0].unet
    assert type(ppdiffusers.AutoPipelineForText2Image.from_pipe(made)) is StableDiffusionXLPipeline
