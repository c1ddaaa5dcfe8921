"""Images, control images, masks and image prompts of every mode in the families with ControlNets, adapters and XL."""

import diffusers
import numpy as np
import PIL.Image
import pytest

import ppdiffusers
from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.pil_modes import to_rgb
from tests.pipelines.support import box_mask
from tests.pipelines.test_image_modes import as_mode
from tests.support.checkpoints import tiny_controlnet_pipeline, tiny_stable_diffusion, tiny_unet
from tests.support.ip_adapter import FOLDER, save_ip_adapters
from tests.support.parity import randomize
from tests.support.stable_diffusion_xl import (
    tiny_stable_diffusion_xl,
    tiny_xl_controlnet,
    tiny_xl_controlnet_pipeline,
    tiny_xl_controlnet_union,
)
from tests.support.stable_unclip import tiny_stable_unclip_img2img
from tests.support.t2i_adapters import tiny_adapter_pipeline, tiny_xl_adapter_pipeline
from tests.support.unclip import tiny_unclip_variation
from tests.support.versatile import tiny_versatile

SIZE = (32, 32)
MASK = box_mask(*SIZE, (9, 7, 30, 22))
CALL = {"prompt": "a", "num_inference_steps": 1, "generator": 0, "output_type": "np", "guidance_scale": 1.0}
STRENGTH = {**CALL, "num_inference_steps": 2, "strength": 0.5}
STEPS = {"num_inference_steps": 1, "generator": 0, "output_type": "np"}


def lcm(path):
    config = {name: value for name, value in tiny_unet().config.items() if not name.startswith("_")}
    pipe = diffusers.LatentConsistencyModelPipeline.from_pretrained(
        tiny_stable_diffusion(path, safety_checker=False),
        unet=randomize(diffusers.UNet2DConditionModel(**{**config, "time_cond_proj_dim": 21}), 2),
        scheduler=diffusers.LCMScheduler(),
    )
    pipe.save_pretrained(path / "lcm")
    return path / "lcm"


def ip_adapter(path):
    folder = tiny_stable_diffusion(path, safety_checker=False)
    save_ip_adapters(path, diffusers.UNet2DConditionModel.from_pretrained(folder / "unet"))
    return folder


def control(path):
    return tiny_controlnet_pipeline(path, diffusers.StableDiffusionControlNetPipeline)


def xl_control(path):
    return tiny_xl_controlnet_pipeline(path, diffusers.StableDiffusionXLControlNetPipeline, tiny_xl_controlnet())


def xl_union(path):
    union = diffusers.StableDiffusionXLControlNetUnionPipeline
    return tiny_xl_controlnet_pipeline(path, union, tiny_xl_controlnet_union())


def edit(path):
    return tiny_stable_diffusion_xl(path, diffusers.StableDiffusionXLInstructPix2PixPipeline, in_channels=8)


# pipeline -> (folder for a temporary path, names of the images, arguments of the call besides them)
CASES = {
    "StableDiffusionXLImg2ImgPipeline": (tiny_stable_diffusion_xl, ("image",), STRENGTH),
    "StableDiffusionXLInpaintPipeline": (tiny_stable_diffusion_xl, ("image",), {**STRENGTH, "mask_image": MASK}),
    "StableDiffusionControlNetPipeline": (control, ("image",), CALL),
    "StableDiffusionControlNetImg2ImgPipeline": (control, ("image", "control_image"), STRENGTH),
    "StableDiffusionControlNetInpaintPipeline": (
        control, ("image", "control_image"), {**STRENGTH, "mask_image": MASK}
    ),
    "StableDiffusionXLControlNetPipeline": (xl_control, ("image",), CALL),
    "StableDiffusionXLControlNetImg2ImgPipeline": (xl_control, ("image", "control_image"), STRENGTH),
    "StableDiffusionXLControlNetInpaintPipeline": (
        xl_control, ("image", "control_image"), {**STRENGTH, "mask_image": MASK}
    ),
    "StableDiffusionXLControlNetUnionPipeline": (xl_union, ("control_image",), {**CALL, "control_mode": [1]}),
    "StableDiffusionXLControlNetUnionImg2ImgPipeline": (
        xl_union, ("image", "control_image"), {**STRENGTH, "control_mode": [1]}
    ),
    "StableDiffusionXLControlNetUnionInpaintPipeline": (
        xl_union, ("image", "control_image"), {**STRENGTH, "control_mode": [1], "mask_image": MASK}
    ),
    "LatentConsistencyModelImg2ImgPipeline": (lcm, ("image",), STRENGTH),
    "UnCLIPImageVariationPipeline": (
        tiny_unclip_variation,
        ("image",),
        {"decoder_num_inference_steps": 1, "super_res_num_inference_steps": 1, "generator": 0, "output_type": "np"},
    ),
    "StableUnCLIPImg2ImgPipeline": (tiny_stable_unclip_img2img, ("image",), {**STEPS, "prompt": "a"}),
    "StableDiffusionXLInstructPix2PixPipeline": (edit, ("image",), {**STEPS, "prompt": "a"}),
    "StableDiffusionAdapterPipeline": (lambda path: tiny_adapter_pipeline(path, 3), ("image",), CALL),
    "StableDiffusionXLAdapterPipeline": (lambda path: tiny_xl_adapter_pipeline(path, 3), ("image",), CALL),
    "VersatileDiffusionDualGuidedPipeline": (
        tiny_versatile, ("image",), {**STEPS, "prompt": "a", "height": 32, "width": 32}
    ),
    "StableDiffusionPipeline": (ip_adapter, ("ip_adapter_image",), CALL),
}  # fmt: skip
NOT_LATENTS = [name for name, (_, images, _) in CASES.items() if images[0] == "image" and "CLIP" not in name]


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    folders, loaded = {}, {}

    def load(name):
        make = CASES[name][0]
        if make not in folders:
            folders[make] = make(tmp_path_factory.mktemp("families"))
        if name not in loaded:
            loaded[name] = getattr(ppdiffusers, name).from_pretrained(folders[make])
            loaded[name].set_progress_bar_config(disable=True)
        if make is ip_adapter and not loaded[name].unet.config.encoder_hid_dim_type:
            loaded[name].load_ip_adapter(folders[make].parent, subfolder=FOLDER, weight_name="base.safetensors")
        return loaded[name]

    return load


@pytest.mark.parametrize("name", CASES)
def test_every_mode_gives_the_result_of_rgb(pipelines, name):
    _, arguments, settings = CASES[name]
    pipeline = pipelines(name)
    for mode in ("CMYK", "I;16"):  # the others are in `tests/utils/test_pil_modes.py`
        image = as_mode(mode, SIZE)
        found = pipeline(**dict.fromkeys(arguments, image), **settings).images
        expected = pipeline(**dict.fromkeys(arguments, to_rgb(image)), **settings).images
        assert np.array_equal(found, expected), mode


@pytest.mark.parametrize("name", [name for name, (*_, settings) in CASES.items() if "mask_image" in settings])
def test_masks_by_the_range_of_their_mode(pipelines, name):
    _, arguments, settings = CASES[name]
    pipeline, images = pipelines(name), dict.fromkeys(CASES[name][1], as_mode("RGB", SIZE))
    levels = np.asarray(MASK)
    expected = pipeline(**images, **settings).images
    masks = {
        "CMYK": MASK.convert("RGB").convert("CMYK"),
        # below half of the range: black, not white
        "I;16": PIL.Image.fromarray(levels.astype(np.uint16) * 257 + (levels == 0) * np.uint16(20000)),
    }
    for mode, mask in masks.items():
        found = pipeline(**images, **{**settings, "mask_image": mask}).images
        assert np.array_equal(found, expected), mode


@pytest.mark.parametrize("name", NOT_LATENTS)
def test_arrays_with_four_channels_are_an_error(pipelines, name):
    _, arguments, settings = CASES[name]
    array = np.asarray(as_mode("RGBA", SIZE)).astype(np.float32) / 255  # [H, W, 4]
    for image in (array, array[None], [array]):
        with pytest.raises(InputError):
            pipelines(name)(**dict.fromkeys(arguments, image), **settings)
