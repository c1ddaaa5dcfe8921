"""Classes that AutoPipeline selects, compared with diffusers where it has them, and shared components."""

import diffusers
import pytest

import ppdiffusers
from ppdiffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    DDIMScheduler,
    StableDiffusionPipeline,
    registry,
)
from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from tests.pipelines.support import assert_images_agree, box_mask, call_both, make_image
from tests.support.checkpoints import tiny_controlnet, tiny_ddpm, tiny_stable_diffusion
from tests.support.stable_diffusion_xl import tiny_stable_diffusion_xl, tiny_xl_controlnet

TASKS = (registry.TEXT_TO_IMAGE, registry.IMAGE_TO_IMAGE, registry.INPAINTING)
STABLE_DIFFUSION = [entry.name for entry in registry.family("StableDiffusionPipeline")]
FAMILIES = [
    [next((e.name for e in registry.family(first.name) if e.task == task), None) for task in TASKS]
    for first in registry.entries("pipeline")
    if first.family and first is registry.family(first.name)[0]
]
AUTO = (AutoPipelineForText2Image, AutoPipelineForImage2Image, AutoPipelineForInpainting)
CALLS = {
    "AutoPipelineForText2Image": {},
    "AutoPipelineForImage2Image": {"image": make_image(32, 32)},
    "AutoPipelineForInpainting": {"image": make_image(32, 32), "mask_image": box_mask(32, 32, (4, 6, 20, 30))},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def pipe(folder):
    return StableDiffusionPipeline.from_pretrained(folder)


def silent(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("auto", AUTO, ids=lambda cls: cls.__name__)
def test_from_pretrained_selects_the_class_of_diffusers(folder, auto):
    mine = silent(auto.from_pretrained(folder))
    reference = silent(getattr(diffusers, auto.__name__).from_pretrained(folder))
    assert type(mine).__name__ == type(reference).__name__
    results = call_both(
        mine, reference, seed=3, prompt="a", num_inference_steps=3, output_type="np", **CALLS[auto.__name__]
    )
    assert_images_agree(results[0].images, results[1].images)


@pytest.mark.parametrize("auto", AUTO, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("start", STABLE_DIFFUSION)
def test_from_pipe_shares_components(pipe, auto, start):
    """The components are the same objects: no weight is copied."""
    source = getattr(ppdiffusers, start)(**pipe.components, requires_safety_checker=False)
    made = auto.from_pipe(source)
    assert type(made).__name__ == STABLE_DIFFUSION[AUTO.index(auto)]
    assert made.components.keys() == source.components.keys()
    assert all(made.components[name] is component for name, component in source.components.items())
    mine = {id(p) for layer in (made.unet, made.vae, made.text_encoder) for p in layer.parameters()}
    assert mine == {id(p) for layer in (pipe.unet, pipe.vae, pipe.text_encoder) for p in layer.parameters()}
    assert made.config.requires_safety_checker is False, "settings are passed on"


def test_from_pipe_round_trip(pipe):
    settings = {"num_inference_steps": 3, "generator": 0, "output_type": "np"}
    silent(pipe)
    before = pipe("a", **settings).images
    inpainting = silent(AutoPipelineForInpainting.from_pipe(pipe))
    inpainting("a", make_image(32, 32), box_mask(32, 32, (0, 0, 9, 9)), num_inference_steps=2, generator=1)
    again = silent(AutoPipelineForText2Image.from_pipe(AutoPipelineForImage2Image.from_pipe(inpainting)))
    assert (again("a", **settings).images == before).all()


def test_given_components(pipe, folder):
    scheduler = DDIMScheduler(steps_offset=1, clip_sample=False)
    for made in (
        AutoPipelineForImage2Image.from_pipe(pipe, scheduler=scheduler, safety_checker=None),
        AutoPipelineForImage2Image.from_pretrained(folder, scheduler=scheduler, safety_checker=None),
    ):
        assert made.scheduler is scheduler and made.safety_checker is None
    assert pipe.scheduler is not scheduler and pipe.safety_checker is not None


CONTROLNET = [entry.name for entry in registry.family("StableDiffusionControlNetPipeline")]


@pytest.mark.parametrize("auto", AUTO, ids=lambda cls: cls.__name__)
def test_controlnet(folder, pipe, auto, tmp_path):
    tiny_controlnet().save_pretrained(tmp_path)
    network = ppdiffusers.ControlNetModel.from_pretrained(tmp_path)
    reference = diffusers.ControlNetModel.from_pretrained(tmp_path)
    theirs = getattr(diffusers, auto.__name__).from_pretrained(folder, controlnet=reference)
    expected = CONTROLNET[AUTO.index(auto)]
    assert type(theirs).__name__ == expected
    for made in (
        auto.from_pretrained(folder, controlnet=network),
        auto.from_pretrained(folder, controlnet=[network, network]),
        auto.from_pipe(pipe, controlnet=network),
        auto.from_pipe(auto.from_pipe(pipe, controlnet=network)),
    ):
        assert type(made).__name__ == expected
    without = auto.from_pipe(made, controlnet=None)
    assert type(without).__name__ == STABLE_DIFFUSION[AUTO.index(auto)] and without.unet is pipe.unet
    assert type(auto.from_pipe(pipe, controlnet=None)) is type(without)


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory):
    return tiny_stable_diffusion_xl(tmp_path_factory.mktemp("xl"))


@pytest.fixture(scope="module")
def xl_networks(tmp_path_factory):
    """A ControlNet of Stable Diffusion XL in both libraries."""
    folder = tmp_path_factory.mktemp("controlnet")
    tiny_xl_controlnet().save_pretrained(folder)
    return [library.ControlNetModel.from_pretrained(folder) for library in (ppdiffusers, diffusers)]


@pytest.mark.parametrize("auto", AUTO, ids=lambda cls: cls.__name__)
def test_controlnet_of_stable_diffusion_xl(xl_folder, xl_networks, auto):
    mine, reference = (
        silent(getattr(library, auto.__name__).from_pretrained(xl_folder, controlnet=network))
        for library, network in zip((ppdiffusers, diffusers), xl_networks, strict=True)
    )
    assert type(mine).__name__ == type(reference).__name__
    control = {"control_image" if auto is not AutoPipelineForText2Image else "image": make_image(32, 32, 1)}
    results = call_both(
        mine, reference, seed=3, prompt="a", num_inference_steps=3, output_type="np", **CALLS[auto.__name__], **control
    )
    assert_images_agree(results[0].images, results[1].images)
    without = auto.from_pipe(mine, controlnet=None)
    assert type(without).__name__ == type(mine).__name__.replace("ControlNet", "") and without.unet is mine.unet
    assert type(auto.from_pipe(without, controlnet=xl_networks[0])) is type(mine)


def test_controlnet_for_a_family_without(tmp_path):
    pipe = ppdiffusers.DDPMPipeline.from_pretrained(tiny_ddpm(tmp_path))
    with pytest.raises(InputError, match="no text-to-image pipeline"):
        AutoPipelineForText2Image.from_pipe(pipe, controlnet=object())


def test_user_defined_subclass(pipe):
    class Subclass(StableDiffusionPipeline):
        pass

    made = AutoPipelineForImage2Image.from_pipe(Subclass(**pipe.components))
    assert type(made) is ppdiffusers.StableDiffusionImg2ImgPipeline and made.unet is pipe.unet


def test_all_classes_exist():
    for family in FAMILIES:
        for name in family:
            assert name is None or issubclass(getattr(ppdiffusers, name), DiffusionPipeline), name


def test_families_agree_with_diffusers():
    tables = diffusers.pipelines.auto_pipeline
    theirs = (
        tables.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
        tables.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        tables.AUTO_INPAINT_PIPELINES_MAPPING,
    )
    compared = 0
    for family in FAMILIES:
        key = next((key for key, cls in theirs[0].items() if cls.__name__ == family[0]), None)
        if key is not None:
            compared += 1
            assert family == [table[key].__name__ if key in table else None for table in theirs]
    assert compared


def test_checkpoint_without_the_task(tmp_path):
    folder = tiny_ddpm(tmp_path)
    with pytest.raises(InputError, match=r"(?s)no inpainting pipeline.*DDPMPipeline.*StableDiffusionInpaintPipeline"):
        AutoPipelineForInpainting.from_pretrained(folder)
    with pytest.raises(InputError, match="no text-to-image pipeline"):
        AutoPipelineForText2Image.from_pipe(ppdiffusers.DDPMPipeline.from_pretrained(folder))


def test_invalid_arguments(folder, tmp_path, pipe, caplog):
    with pytest.raises(SourceError):
        AutoPipelineForText2Image.from_pretrained(tmp_path / "nowhere")
    with caplog.at_level("WARNING", logger="ppdiffusers"):
        AutoPipelineForText2Image.from_pretrained(folder, schedular=None)  # unknown: ignored and named, as in diffusers
    assert "schedular" in caplog.text
    with pytest.raises(InputError, match="schedular"):
        AutoPipelineForText2Image.from_pipe(pipe, schedular=None)
    with pytest.raises(InputError, match=r"AutoPipelineForInpainting\.from_pretrained"):
        AutoPipelineForInpainting(**pipe.components)
