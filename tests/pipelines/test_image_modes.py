"""Images of every mode in every pipeline that takes images: never latents by accident, never another image."""

import diffusers
import numpy as np
import paddle
import PIL.Image
import pytest
import torch

import ppdiffusers
from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.pil_modes import to_rgb
from tests.pipelines.support import box_mask, make_image
from tests.support.checkpoints import tiny_stable_diffusion, tiny_stable_diffusion_as
from tests.support.latent_diffusion import tiny_super_resolution
from tests.support.stable_diffusion_2 import tiny_depth2img, tiny_latent_upscaler, tiny_upscaler
from tests.support.unconditional import tiny_unconditional
from tests.support.versatile import tiny_versatile

SIZE = (45, 38)
MASK = box_mask(*SIZE, (9, 7, 30, 22))
TWO_STEPS = {"prompt": "a", "num_inference_steps": 2, "generator": 0, "output_type": "np"}
STRENGTH = {**TWO_STEPS, "strength": 0.9}


def as_mode(mode, size=SIZE):
    """A non-trivial image of a mode."""
    image = make_image(*size)
    if mode == "RGBA":
        image.putalpha(box_mask(*size, (0, 0, 20, 38)))
        return image
    if mode == "I;16":
        return PIL.Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


# pipeline -> (folder for a temporary path, arguments of the call besides the image)
CASES = {
    "StableDiffusionImg2ImgPipeline": (lambda path: tiny_stable_diffusion(path, safety_checker=False), STRENGTH),
    "StableDiffusionInpaintPipeline": (
        lambda path: tiny_stable_diffusion_as(path, diffusers.StableDiffusionInpaintPipeline, in_channels=9),
        {**TWO_STEPS, "mask_image": MASK, "height": 32, "width": 40},
    ),
    "StableDiffusionInpaintPipelineLegacy": (
        lambda path: tiny_stable_diffusion(path, safety_checker=False),
        {**STRENGTH, "mask_image": MASK},
    ),
    "StableDiffusionInstructPix2PixPipeline": (
        lambda path: tiny_stable_diffusion_as(path, diffusers.StableDiffusionInstructPix2PixPipeline, in_channels=8),
        TWO_STEPS,
    ),
    "CycleDiffusionPipeline": (
        lambda path: tiny_stable_diffusion_as(path, diffusers.CycleDiffusionPipeline, scheduler="DDIMScheduler"),
        {**STRENGTH, "source_prompt": "b"},
    ),
    "StableDiffusionDepth2ImgPipeline": (tiny_depth2img, STRENGTH),
    "StableDiffusionUpscalePipeline": (tiny_upscaler, {**TWO_STEPS, "noise_level": 20}),
    "StableDiffusionLatentUpscalePipeline": (tiny_latent_upscaler, TWO_STEPS),
    "LDMSuperResolutionPipeline": (tiny_super_resolution, {k: v for k, v in TWO_STEPS.items() if k != "prompt"}),
    "RePaintPipeline": (
        lambda path: tiny_unconditional("RePaintPipeline", path),
        {
            "mask_image": box_mask(32, 32, (0, 0, 32, 20)),
            "num_inference_steps": 4,
            "jump_length": 1,
            "jump_n_sample": 1,
            "generator": 0,
            "output_type": "np",
        },
    ),
    "VersatileDiffusionImageVariationPipeline": (
        tiny_versatile,
        {"num_inference_steps": 2, "generator": 0, "output_type": "np", "height": 32, "width": 32},
    ),
}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    loaded = {}

    def load(name):
        if name not in loaded:
            folder = CASES[name][0](tmp_path_factory.mktemp(name))
            loaded[name] = getattr(ppdiffusers, name).from_pretrained(folder)
            loaded[name].set_progress_bar_config(disable=True)
        return loaded[name]

    return load


@pytest.mark.parametrize("name", CASES)
def test_every_mode_gives_the_result_of_rgb(pipelines, name):
    pipeline, settings = pipelines(name), CASES[name][1]
    size = SIZE if name not in ("RePaintPipeline", "StableDiffusionLatentUpscalePipeline") else (32, 32)
    for mode in ("CMYK", "RGBA", "I;16"):
        image = as_mode(mode, size)
        found = pipeline(image=image, **settings).images
        expected = pipeline(image=to_rgb(image), **settings).images
        assert np.array_equal(found, expected), mode


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "YCbCr", "HSV", "LAB", "F"])
def test_other_modes(pipelines, mode):
    pipeline = pipelines("StableDiffusionImg2ImgPipeline")
    if mode == "LAB":
        image = PIL.Image.new("LAB", (32, 32), (100, 30, 200))
    else:
        image = make_image(45, 38).convert("L").convert(mode) if mode == "F" else make_image(45, 38).convert(mode)
    found = pipeline(image=image, **STRENGTH).images
    assert found.shape == (1, image.height // 2 * 2, image.width // 2 * 2, 3)
    assert np.array_equal(found, pipeline(image=to_rgb(image), **STRENGTH).images)


def test_cmyk_is_the_image_that_diffusers_generates_from_rgb(tmp_path):
    folder = tiny_stable_diffusion(tmp_path, safety_checker=False)
    ours = ppdiffusers.StableDiffusionImg2ImgPipeline.from_pretrained(folder)
    theirs = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(folder)
    image = as_mode("CMYK")
    found = ours(image=image, **STRENGTH).images
    expected = theirs(image=image.convert("RGB"), **{**STRENGTH, "generator": torch.Generator().manual_seed(0)}).images
    assert np.abs(found - expected).max() < 1 / 255


def test_arrays_are_never_latents(pipelines):
    """An array with 4 channels, RGBA or CMYK, is an error; a tensor with the channels of latents is latents."""
    pipeline = pipelines("StableDiffusionImg2ImgPipeline")
    rgba = np.asarray(as_mode("RGBA")).astype(np.float32) / 255  # [H, W, 4]
    for image in (rgba, rgba[None], [rgba]):
        with pytest.raises(InputError, match=r"`image` has 4 channel\(s\)"):
            pipeline(image=image, **STRENGTH)
    with pytest.raises(InputError, match=r"`image` has 1 channel\(s\)"):
        pipeline(image=rgba[..., 0], **STRENGTH)
    latents = paddle.randn([1, 4, 16, 16])
    assert pipeline(image=latents, **STRENGTH).images.shape == (1, 32, 32, 3)


def test_masks_by_the_range_of_their_mode(pipelines):
    pipeline, settings = pipelines("StableDiffusionInpaintPipeline"), CASES["StableDiffusionInpaintPipeline"][1]
    mask = box_mask(40, 32, (9, 7, 30, 22))
    levels = np.asarray(mask)
    masks = {
        "1": mask.convert("1"),
        "I;16": PIL.Image.fromarray(levels.astype(np.uint16) * 257),
        # below half of the range: black, not white
        "I;16 below half": PIL.Image.fromarray(levels.astype(np.uint16) * 257 + (levels == 0) * np.uint16(20000)),
        "F": PIL.Image.fromarray(levels.astype(np.float32) / 255),
        "CMYK": mask.convert("RGB").convert("CMYK"),
    }
    image = make_image(40, 32)
    expected = pipeline(image=image, **{**settings, "mask_image": mask}).images
    for name, other in masks.items():
        assert np.array_equal(pipeline(image=image, **{**settings, "mask_image": other}).images, expected), name


def test_mask_with_channels(pipelines):
    pipeline, settings = pipelines("StableDiffusionInpaintPipeline"), CASES["StableDiffusionInpaintPipeline"][1]
    for mask in (paddle.ones([1, 4, 32, 40]), paddle.ones([1, 3, 32, 40])):
        with pytest.raises(InputError, match="`mask_image` has . channels; masks have one"):
            pipeline(image=make_image(*SIZE), **{**settings, "mask_image": mask})


def test_latents_are_not_supported_by_legacy_inpainting(pipelines):
    pipeline, settings = (
        pipelines("StableDiffusionInpaintPipelineLegacy"),
        CASES["StableDiffusionInpaintPipelineLegacy"][1],
    )
    with pytest.raises(InputError, match="`image` must have 3 channels, not 4"):
        pipeline(image=paddle.zeros([1, 4, 32, 40]), **settings)
