"""IP-Adapters in the other pipelines of Stable Diffusion and Stable Diffusion XL against diffusers, live."""

import diffusers
import pytest

import ppdiffusers
from tests.pipelines.support import PROMPTS, assert_images_agree, box_mask, call_both, load_classes, make_image
from tests.support.checkpoints import tiny_controlnet_pipeline, tiny_stable_diffusion_as
from tests.support.ip_adapter import FOLDER, save_ip_adapters
from tests.support.stable_diffusion_xl import tiny_xl_controlnet, tiny_xl_controlnet_pipeline, tiny_xl_controlnet_union
from tests.support.t2i_adapters import XL, tiny_adapter

IMAGE, SIZE = make_image(40, 24, seed=4), {"height": 24, "width": 40}
MASK = box_mask(40, 24, (8, 4, 30, 20))
# class -> channels of the UNet, prompts, arguments. In diffusers, Safe Stable Diffusion accepts one prompt only.
PIPELINES = {
    "StableDiffusionImg2ImgPipeline": (4, PROMPTS, {"image": IMAGE, "strength": 0.7}),
    "StableDiffusionInpaintPipeline": (9, PROMPTS, {"image": IMAGE, "mask_image": MASK, "strength": 0.8, **SIZE}),
    "StableDiffusionInstructPix2PixPipeline": (8, PROMPTS, {"image": IMAGE}),
    "StableDiffusionPipelineSafe": (4, PROMPTS[:1], SIZE),
}


def load(pair, repository):
    for pipeline in pair:
        pipeline.load_ip_adapter(str(repository), FOLDER, "plus.safetensors")
        pipeline.set_ip_adapter_scale(0.6)


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines(name, tmp_path):
    channels, prompts, arguments = PIPELINES[name]
    original = getattr(diffusers, name)
    folder = tiny_stable_diffusion_as(tmp_path, original, in_channels=channels, safety_checker=False)
    pair = load_classes(folder, getattr(ppdiffusers, name), original)
    repository = save_ip_adapters(tmp_path / "adapters", pair[1].unet)
    load(pair, repository)
    call = {"prompt": prompts, "num_inference_steps": 4, "num_images_per_prompt": len(prompts), "output_type": "np"}
    ours, theirs = call_both(*pair, seed=3, ip_adapter_image=make_image(50, 36, seed=1), **call, **arguments)
    assert_images_agree(ours.images, theirs.images)


# -- ControlNets and Stable Diffusion XL ------------------------------------------------------------------------------

CONTROL, GUESS = make_image(40, 24, seed=5), {"guess_mode": True, "guidance_scale": 4.0}
START, START_AND_MASK = {"image": IMAGE, "strength": 0.7}, {"image": IMAGE, "mask_image": MASK, "strength": 0.8}


def load_family(folder, name, tmp_path):
    """(ours, diffusers') of a class, with an IP-Adapter; the pipelines of a family share its components."""
    pair = load_classes(folder, getattr(ppdiffusers, name), getattr(diffusers, name))
    load(pair, save_ip_adapters(tmp_path, pair[1].unet))
    return pair


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    of = diffusers.StableDiffusionControlNetPipeline
    folder = tiny_controlnet_pipeline(tmp_path_factory.mktemp("sd"), of)
    return load_family(folder, of.__name__, tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def xl(tmp_path_factory):
    of = diffusers.StableDiffusionXLControlNetPipeline
    folder = tiny_xl_controlnet_pipeline(tmp_path_factory.mktemp("xl"), of, tiny_xl_controlnet())
    return load_family(folder, of.__name__, tmp_path_factory.mktemp("adapters"))


def agree(pair, name, components=({}, {}), **arguments):
    """Both libraries give the same images with these components, and others than with another image prompt."""
    mine, reference = (
        getattr(library, name).from_pipe(pipeline, **more)
        for library, pipeline, more in zip((ppdiffusers, diffusers), pair, components, strict=True)
    )
    for pipeline in (mine, reference):
        pipeline.set_progress_bar_config(disable=True)
    call = {"prompt": PROMPTS, "num_inference_steps": 3, "num_images_per_prompt": 2, "output_type": "np", **arguments}
    ours, theirs = call_both(mine, reference, seed=3, ip_adapter_image=make_image(50, 36, seed=1), **call)
    assert_images_agree(ours.images, theirs.images)
    other = mine(generator=3, ip_adapter_image=make_image(50, 36, seed=2), **call)
    assert abs(ours.images - other.images).max() > 0.02


CONTROLLED = {
    "": {"image": CONTROL},
    "Img2Img": {**START, "control_image": CONTROL},
    "Inpaint": {**START_AND_MASK, "control_image": CONTROL},
}


@pytest.mark.parametrize("guess", [{}, GUESS], ids=["", "guess mode"])
@pytest.mark.parametrize("task", CONTROLLED)
@pytest.mark.parametrize("family", ["sd", "xl"])
def test_controlnets(family, task, guess, request):
    name = f"StableDiffusion{'XL' if family == 'xl' else ''}ControlNet{task}Pipeline"
    agree(request.getfixturevalue(family), name, **CONTROLLED[task], **guess)


@pytest.mark.parametrize(("task", "arguments"), [("", {}), ("Img2Img", START), ("Inpaint", START_AND_MASK)])
def test_controlnet_union(xl, tmp_path, task, arguments):
    tiny_xl_controlnet_union().save_pretrained(tmp_path)
    networks = [
        {"controlnet": library.ControlNetUnionModel.from_pretrained(tmp_path)} for library in (ppdiffusers, diffusers)
    ]
    name = f"StableDiffusionXLControlNetUnion{task}Pipeline"
    agree(xl, name, networks, **arguments, control_image=[CONTROL, IMAGE], control_mode=[3, 0], **SIZE)


@pytest.mark.parametrize(("task", "arguments"), [("Img2Img", START), ("Inpaint", {**START_AND_MASK, **SIZE})])
def test_stable_diffusion_xl(xl, task, arguments):
    agree(xl, f"StableDiffusionXL{task}Pipeline", **arguments)


def test_t2i_adapter(xl, tmp_path):
    tiny_adapter(in_channels=3, **XL).save_pretrained(tmp_path)
    adapters = [{"adapter": library.T2IAdapter.from_pretrained(tmp_path)} for library in (ppdiffusers, diffusers)]
    agree(xl, "StableDiffusionXLAdapterPipeline", adapters, image=[CONTROL, IMAGE], num_images_per_prompt=1)
