"""Pipelines with several ControlNets against diffusers, live; their folders, conversion and download."""

import json

import diffusers
import numpy as np
import pytest

from ppdiffusers import (
    ControlNetModel,
    MultiControlNetModel,
    StableDiffusionControlNetPipeline,
    convert_diffusers_to_paddle,
)
from ppdiffusers.core.errors import InputError
from ppdiffusers.io.required_files import PipelineFiles
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_round_trip,
    box_mask,
    call_both,
    load_both,
    make_image,
    set_schedulers,
)
from tests.support.checkpoints import tiny_controlnet_pipeline
from tests.support.hubs import FolderAsHub

CONTROL = [make_image(32, 32, 1), make_image(32, 32, 2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return tiny_controlnet_pipeline(folder, diffusers.StableDiffusionControlNetPipeline, controlnets=2)


@pytest.fixture(scope="module")
def loaded(folder):
    return load_both(folder)


@pytest.fixture
def pipes(loaded):
    set_schedulers(*loaded, "DDIMScheduler")
    return loaded


CALLS = {
    "one scale": {},
    "a scale for each": {"controlnet_conditioning_scale": [0.4, 1.1]},
    "an interval for each": {"control_guidance_start": [0.0, 0.3], "control_guidance_end": [0.5, 1.0]},
    "guess mode": {"guess_mode": True},
    "without guidance": {"guidance_scale": 1.0, "num_images_per_prompt": 2},
    "an image for each prompt and ControlNet": {
        "prompt": PROMPTS,
        "image": [[make_image(32, 24, 1), make_image(32, 24, 2)], [make_image(32, 24, 3), make_image(32, 24, 4)]],
        "num_images_per_prompt": 2,
    },
    "one size for all": {"image": [make_image(32, 32, 1), make_image(40, 24, 2)], "height": 32, "width": 24},
}


@pytest.mark.parametrize("case", CALLS)
def test_calls(pipes, case):
    mine, reference = call_both(
        *pipes, seed=3,
        **{"prompt": PROMPTS[1], "image": CONTROL, "num_inference_steps": 5, "output_type": "np", **CALLS[case]},
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("name", ["Img2Img", "Inpaint"])
def test_other_tasks(folder, name):
    import ppdiffusers

    ours, theirs = (
        getattr(library, f"StableDiffusionControlNet{name}Pipeline").from_pretrained(folder)
        for library in (ppdiffusers, diffusers)
    )
    for pipeline in (ours, theirs):
        pipeline.set_progress_bar_config(disable=True)
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    images = {"image": make_image(32, 32)} | (
        {"mask_image": box_mask(32, 32, (4, 6, 20, 30))} if name == "Inpaint" else {}
    )
    mine, reference = call_both(
        ours, theirs, seed=3, prompt=PROMPTS[1], **images, control_image=CONTROL, num_inference_steps=5,
        output_type="np", controlnet_conditioning_scale=[0.5, 0.9],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_a_list_is_combined(pipes):
    ours, _ = pipes
    parts = ours.components | {"controlnet": list(ours.controlnet.nets)}
    made = StableDiffusionControlNetPipeline(**parts, requires_safety_checker=False)
    assert isinstance(made.controlnet, MultiControlNetModel)
    assert [id(network) for network in made.controlnet.nets] == [id(network) for network in ours.controlnet.nets]


def test_folders(pipes, folder, tmp_path):
    ours, _ = pipes
    ours.save_pretrained(tmp_path / "saved")
    assert json.loads((tmp_path / "saved/model_index.json").read_text())["controlnet"] == [
        "ppdiffusers", "MultiControlNetModel",
    ]  # fmt: skip
    assert {path.name for path in (tmp_path / "saved").glob("controlnet*")} == {"controlnet", "controlnet_1"}
    ours.save_pretrained(tmp_path / "torch", to_diffusers=True)
    written, original = (json.loads((path / "model_index.json").read_text()) for path in (tmp_path / "torch", folder))
    assert written["controlnet"] == original["controlnet"]
    again = StableDiffusionControlNetPipeline.from_pretrained(tmp_path / "saved")
    assert len(again.controlnet.nets) == 2


def test_folders_of_older_releases_of_diffusers(folder, tmp_path):
    index = json.loads((folder / "model_index.json").read_text())
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "model_index.json").write_text(
        json.dumps({**index, "controlnet": ["controlnet", "MultiControlNetModel"]})
    )
    assert len(StableDiffusionControlNetPipeline.from_pretrained(tmp_path).controlnet.nets) == 2


def test_all_networks_are_downloaded(folder):
    selected = {file.path for file in PipelineFiles().select(FolderAsHub(folder), "")}
    for name in ("controlnet", "controlnet_1"):
        assert {f"{name}/config.json", f"{name}/diffusion_pytorch_model.safetensors"} <= selected


def test_conversion_both_ways(folder, tmp_path):
    assert_round_trip(folder, tmp_path, prompt="a", image=CONTROL, num_inference_steps=3)


def test_conversion_verifies_each_network(folder, tmp_path):
    report = convert_diffusers_to_paddle(folder, tmp_path / "paddle", verify=True, progress=False)
    classes = {component.name: component.class_name for component in report.components}
    assert classes["controlnet"] == classes["controlnet_1"] == "ControlNetModel"
    assert not report.left_out


def test_compiled_networks_agree(folder):
    ours = StableDiffusionControlNetPipeline.from_pretrained(folder)
    ours.set_progress_bar_config(disable=True)
    settings = {"prompt": "a", "image": CONTROL, "num_inference_steps": 2, "generator": 1, "output_type": "np"}
    expected = ours(**settings).images
    assert np.abs(ours.compile()(**settings).images - expected).max() <= 1e-3


def test_invalid_arguments_are_listed_together(pipes):
    with pytest.raises(InputError) as error:
        pipes[0]("a", CONTROL[:1], controlnet_conditioning_scale=[1.0], control_guidance_start=[0.5, 0.9, 1.0])
    assert len(error.value.problems) == 3
    with pytest.raises(InputError, match="must be a list with one entry for each of the 2 ControlNets"):
        pipes[0]("a", CONTROL[0])
    with pytest.raises(InputError, match=r"different sizes \(32 x 32, 32 x 24, height x width\)"):
        pipes[0]("a", [CONTROL[0], make_image(24, 32)])
    with pytest.raises(InputError, match=r"`controlnet.nets\[1\]` is for another UNet: its layers_per_block is 2"):
        wider = ControlNetModel(**{**pipes[0].controlnet.nets[0].config, "layers_per_block": 2})
        made = StableDiffusionControlNetPipeline.from_pipe(
            pipes[0], controlnet=[pipes[0].controlnet.nets[0], wider]
        )  # fmt: skip
        made("a", CONTROL)
