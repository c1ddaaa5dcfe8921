"""Stable Diffusion XL with few steps against diffusers, live: LCM by UNet and by LoRA, Turbo, Lightning, Hyper.

The settings of one and four steps from pure noise are in `test_stable_diffusion_xl.py`.
"""

import importlib.machinery
import sys
import types

import diffusers
import numpy as np
import pytest

import ppdiffusers
from tests.pipelines.support import PROMPTS, assert_images_agree, box_mask, call_both, load_classes, make_image
from tests.support.lora import ALL_LAYERS, CONVOLUTIONS, KOHYA_XL, as_kohya, save_peft_lora
from tests.support.stable_diffusion_xl import tiny_stable_diffusion_xl

IMAGE = make_image(40, 24)
TASKS = {
    "StableDiffusionXLPipeline": {},
    "StableDiffusionXLImg2ImgPipeline": {"image": IMAGE, "strength": 0.6},
    "StableDiffusionXLInpaintPipeline": {
        "image": IMAGE,
        "mask_image": box_mask(40, 24, (4, 6, 20, 18)),
        "height": 24,
        "width": 40,
    },
}


def set_scheduler(pipes, name, **settings):
    for library, pipeline in zip((ppdiffusers, diffusers), pipes, strict=True):
        pipeline.scheduler = getattr(library, name).from_config(pipeline.original_scheduler.config, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion_xl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def lcm_folder(tmp_path_factory):
    """A UNet that takes the guidance scale as an input."""
    return tiny_stable_diffusion_xl(tmp_path_factory.mktemp("lcm"), time_cond_proj_dim=18)


def both_classes(folder, name):
    return load_classes(folder, getattr(ppdiffusers, name), getattr(diffusers, name))


@pytest.mark.parametrize("task", TASKS)
def test_lcm_by_unet(lcm_folder, task):
    pipes = both_classes(lcm_folder, task)
    set_scheduler(pipes, "LCMScheduler")
    settings = {"prompt": PROMPTS, "num_inference_steps": 4, "output_type": "np", **TASKS[task]}
    images = []
    for scale in (8.0, 1.5):  # without a second prediction in each step
        mine, reference = call_both(*pipes, seed=3, guidance_scale=scale, **settings)
        assert_images_agree(mine.images, reference.images)
        images.append(mine.images)
    assert not pipes[0].do_classifier_free_guidance and np.abs(images[0] - images[1]).max() > 0.02


@pytest.mark.parametrize("guidance_scale", [1.0, 1.6])
def test_lcm_by_lora(loaded, folder, tmp_path, guidance_scale):
    """A file with Kohya's names, as latent-consistency/lcm-lora-sdxl."""
    source = save_peft_lora(tmp_path / "peft", folder, "lcm", 4, [*ALL_LAYERS, *CONVOLUTIONS])
    file = as_kohya(source, tmp_path / "lcm.safetensors", 1.5, KOHYA_XL)
    for pipeline in loaded:
        pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    set_scheduler(loaded, "LCMScheduler")
    settings = {"prompt": PROMPTS[0], "num_inference_steps": 4, "output_type": "np", "guidance_scale": guidance_scale}
    mine, reference = call_both(*loaded, seed=3, **settings)
    assert_images_agree(mine.images, reference.images)
    for pipeline in loaded:
        pipeline.unload_lora_weights()
    without, _ = call_both(*loaded, seed=3, **settings)
    assert np.abs(mine.images - without.images).max() > 0.02


def test_turbo_from_an_image(folder):
    """Two steps, of which strength 0.5 leaves one, as in the description of stabilityai/sdxl-turbo."""
    pipes = both_classes(folder, "StableDiffusionXLImg2ImgPipeline")
    set_scheduler(pipes, "EulerAncestralDiscreteScheduler", timestep_spacing="trailing")
    settings = {"prompt": PROMPTS, "image": [IMAGE, make_image(40, 24, 1)], "output_type": "np"}
    mine, reference = call_both(*pipes, seed=3, num_inference_steps=2, strength=0.5, guidance_scale=0.0, **settings)
    assert_images_agree(mine.images, reference.images)
    assert pipes[0].num_timesteps == pipes[1].num_timesteps == 1


def test_lightning_of_one_step(loaded):
    """ByteDance/SDXL-Lightning's UNet of one step predicts the clean latents."""
    set_scheduler(loaded, "EulerDiscreteScheduler", timestep_spacing="trailing", prediction_type="sample")
    settings = {"prompt": PROMPTS, "num_inference_steps": 1, "guidance_scale": 0, "output_type": "np"}
    mine, reference = call_both(*loaded, seed=3, height=24, width=40, **settings)
    assert_images_agree(mine.images, reference.images)


def test_hyper(loaded):
    """ByteDance/Hyper-SD: TCD, with eta, and its UNet of one step from timestep 800."""
    set_scheduler(loaded, "TCDScheduler")
    settings = {"prompt": PROMPTS[1], "guidance_scale": 0, "output_type": "np"}
    mine, reference = call_both(*loaded, seed=3, num_inference_steps=4, eta=0.7, **settings)
    assert_images_agree(mine.images, reference.images)
    set_scheduler(loaded, "LCMScheduler")
    mine, reference = call_both(*loaded, seed=3, num_inference_steps=1, timesteps=[800], **settings)
    assert_images_agree(mine.images, reference.images)


def test_images_of_a_call_are_marked_where_the_package_is_installed(folder, monkeypatch):
    """By default, if `invisible-watermark` is installed."""

    class Encoder:
        def set_watermark(self, kind, content):
            pass

        def encode(self, image, method):
            return image.clip(0, 255) * 0.5

    module = types.ModuleType("imwatermark")
    module.WatermarkEncoder, module.__spec__ = Encoder, importlib.machinery.ModuleSpec("imwatermark", None)
    monkeypatch.setitem(sys.modules, "imwatermark", module)
    settings = {"prompt": "a", "height": 16, "width": 256, "num_inference_steps": 1, "generator": 0}
    plain, marked = (
        ppdiffusers.StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=add)(
            **settings, output_type="np"
        ).images
        for add in (False, None)
    )
    np.testing.assert_allclose(marked, plain * 0.5, atol=1e-6)
