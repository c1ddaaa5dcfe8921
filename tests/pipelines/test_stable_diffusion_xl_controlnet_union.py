"""Stable Diffusion XL with ControlNets for several control types against diffusers, live."""

import json

import diffusers
import numpy as np
import pytest
from diffusers.models import MultiControlNetUnionModel as Reference

import ppdiffusers
from ppdiffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    ControlNetUnionModel,
    MultiControlNetUnionModel,
    StableDiffusionXLControlNetUnionPipeline,
)
from ppdiffusers.core.errors import InputError
from tests.pipelines.support import (
    PROMPTS,
    assert_images_agree,
    assert_levels_agree,
    assert_round_trip,
    box_mask,
    call_both,
    load_classes,
    make_image,
)
from tests.support.stable_diffusion_xl import (
    tiny_scheduler,
    tiny_stable_diffusion_xl,
    tiny_xl_controlnet,
    tiny_xl_controlnet_pipeline,
    tiny_xl_controlnet_union,
)

TASKS = ("", "Img2Img", "Inpaint")
AUTO = dict(zip(TASKS, (AutoPipelineForText2Image, AutoPipelineForImage2Image, AutoPipelineForInpainting)))
CONTROLS = [make_image(40, 24, seed) for seed in (1, 2)]
IMAGES = {"image": make_image(40, 24), "mask_image": box_mask(40, 24, (4, 6, 30, 20))}
STARTS = {"": {}, "Img2Img": {"image": IMAGES["image"]}, "Inpaint": IMAGES}
TWO_TYPES = {"control_image": CONTROLS, "control_mode": [3, 0]}


def name_of(task):
    return f"StableDiffusionXLControlNetUnion{task}Pipeline"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    of = diffusers.StableDiffusionXLControlNetUnionPipeline
    return tiny_xl_controlnet_pipeline(tmp_path_factory.mktemp("union"), of, tiny_xl_controlnet_union())


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Two networks for each library."""
    folders = [tmp_path_factory.mktemp("network") for _ in range(2)]
    for seed, path in enumerate(folders):
        tiny_xl_controlnet_union(31 + seed).save_pretrained(path)
    return [
        [library.ControlNetUnionModel.from_pretrained(path) for path in folders] for library in (ppdiffusers, diffusers)
    ]


@pytest.fixture(scope="module")
def loaded(folder, networks):
    """(task, "one" or "two" networks) -> both pipelines, which share their components."""
    libraries = (ppdiffusers, diffusers)
    first = load_classes(folder, *(getattr(library, name_of("")) for library in libraries))
    made = {}
    for task in TASKS:
        classes = [getattr(library, name_of(task)) for library in libraries]
        made[task, "one"] = [of(**pipe.components) for of, pipe in zip(classes, first, strict=True)]
        made[task, "two"] = [
            of(**{**pipe.components, "controlnet": several})
            for of, pipe, several in zip(classes, first, networks, strict=True)
        ]
    for pipeline in (pipeline for pair in made.values() for pipeline in pair):
        pipeline.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def pairs(loaded):
    for ours, theirs in loaded.values():
        theirs.scheduler = tiny_scheduler()
        ours.scheduler = ppdiffusers.EulerDiscreteScheduler.from_config(dict(theirs.scheduler.config))
    return loaded


CALLS = {
    ("", "one type, sizes"): {
        "control_image": CONTROLS[0], "control_mode": 2, "original_size": (50, 70), "target_size": (64, 40),
        "negative_original_size": (20, 30), "negative_target_size": (24, 56), "controlnet_conditioning_scale": 0.6,
        "clip_skip": 1,
    },
    ("", "two types, scales, two prompts"): {
        "prompt": PROMPTS, "num_images_per_prompt": 2, "controlnet_conditioning_scale": [0.4, 1.2],
        "negative_prompt": ["blurry", "丑陋"],
    },
    ("", "an image for each prompt"): {
        "prompt": PROMPTS, "control_image": [CONTROLS, CONTROLS[::-1]], "control_mode": [4, 1],
    },
    ("", "without guidance, guess mode, intervals, an end"): {
        "guidance_scale": 1.0, "guess_mode": True, "control_guidance_start": [0.0, 0.3],
        "control_guidance_end": [0.7, 1.0], "num_inference_steps": 6, "denoising_end": 0.8,
    },
    ("", "an interval for all images"): {"control_guidance_start": 0.2, "control_guidance_end": 0.6},
    ("Img2Img", "two types, two prompts"): {
        "prompt": PROMPTS, "num_images_per_prompt": 2, "controlnet_conditioning_scale": [0.4, 1.2],
    },
    ("Img2Img", "one type, another size"): {
        "control_image": [CONTROLS[0]], "control_mode": [1], "height": 32, "width": 24, "strength": 0.5,
        "control_guidance_end": [0.6], "negative_target_size": (24, 56),
    },
    ("Inpaint", "two types, two prompts"): {"prompt": PROMPTS, "num_images_per_prompt": 2},
    ("Inpaint", "one type, strength, sizes"): {
        "control_image": CONTROLS[1], "control_mode": 4, "strength": 0.6, "original_size": (50, 70),
        "control_guidance_start": 0.3,
    },
}  # fmt: skip


@pytest.mark.parametrize(("task", "case"), CALLS)
def test_calls(pairs, task, case):
    call = {"prompt": PROMPTS[1], "num_inference_steps": 4, "output_type": "np", **TWO_TYPES, **CALLS[task, case]}
    mine, reference = call_both(*pairs[task, "one"], seed=3, **STARTS[task], **call)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("task", TASKS)
def test_several_networks(pairs, task):
    mine, reference = call_both(
        *pairs[task, "two"], seed=3, prompt=PROMPTS[1], num_inference_steps=4, output_type="np", **STARTS[task],
        **TWO_TYPES, controlnet_conditioning_scale=[0.5, 1.1], control_guidance_start=[0.0, 0.3],
        control_guidance_end=[0.6, 1.0],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def as_many_types_as_latents(monkeypatch, theirs):
    """diffusers gives its networks the types of both halves of a guided batch, also for one half, and raises."""
    for network in getattr(theirs.controlnet, "nets", [theirs.controlnet]):

        def forward(*args, control_type, original=network.forward, **kwargs):
            sample = args[0] if args else kwargs["sample"]
            return original(*args, control_type=control_type[: sample.shape[0]], **kwargs)

        monkeypatch.setattr(network, "forward", forward)


@pytest.mark.parametrize("case", [("", "one"), ("Inpaint", "one"), ("", "two")])
def test_guess_mode_with_guidance(pairs, monkeypatch, case):
    ours, theirs = pairs[case]
    as_many_types_as_latents(monkeypatch, theirs)
    mine, reference = call_both(
        ours, theirs, seed=3, prompt=PROMPTS, num_inference_steps=3, output_type="np", guess_mode=True,
        **STARTS[case[0]], **TWO_TYPES,
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("control", [True, False], ids=["with control images", "without control images"])
def test_callback_ends_guidance(pairs, monkeypatch, control):
    ours, theirs = pairs["Img2Img", "one"]
    as_many_types_as_latents(monkeypatch, theirs)
    names = ["prompt_embeds", "add_text_embeds", "add_time_ids", "control_image"]

    def end(pipeline, index, timestep, tensors):
        if index != 1:
            return {}
        pipeline._guidance_scale = 0.0
        halves = {name: tensors[name][-2:] for name in names[:3]}
        if control or pipeline is theirs:  # diffusers needs them
            halves["control_image"] = [image[-2:] for image in tensors["control_image"]]
        return halves

    mine, reference = call_both(
        ours, theirs, seed=3, prompt=PROMPTS, num_inference_steps=5, output_type="np", **STARTS["Img2Img"],
        **TWO_TYPES, callback_on_step_end=end, callback_on_step_end_tensor_inputs=names,
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_crop(pairs, monkeypatch):
    """The checks of diffusers reject every control image with a crop; here the reference runs without them."""
    monkeypatch.setattr(pairs["Inpaint", "one"][1], "check_inputs", lambda *args: None)
    mine, reference = call_both(
        *pairs["Inpaint", "one"], seed=3, prompt="a", num_inference_steps=4, padding_mask_crop=3, **IMAGES, **TWO_TYPES
    )
    assert_levels_agree(np.asarray(mine.images[0]), np.asarray(reference.images[0]))


def test_callback_replaces_control_images(pairs):
    def change(pipeline, index, timestep, tensors):
        return {
            "control_image": [image * 0.5 for image in tensors["control_image"]],
            "add_text_embeds": tensors["add_text_embeds"] * 0.7,
        }

    mine, reference = call_both(
        *pairs["Img2Img", "one"], seed=3, prompt=PROMPTS[1], num_inference_steps=4, output_type="np",
        **STARTS["Img2Img"], **TWO_TYPES, callback_on_step_end=change,
        callback_on_step_end_tensor_inputs=["control_image", "add_text_embeds"],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_several_types_for_one_of_several_networks(pairs):
    """diffusers documents lists of lists, and raises: the first network alone is the reference."""
    ours, _ = pairs["", "two"]
    call = {"num_inference_steps": 2, "output_type": "np"}
    several = ours(
        "a", control_image=[CONTROLS, CONTROLS[0]], control_mode=[[3, 0], 1],
        controlnet_conditioning_scale=[0.8, 0.0], generator=3, **call,
    )  # fmt: skip
    alone = StableDiffusionXLControlNetUnionPipeline(
        **{**ours.components, "controlnet": [ours.controlnet.nets[0]]}
    )  # fmt: skip
    alone.set_progress_bar_config(disable=True)
    expected = alone(
        "a", control_image=[CONTROLS], control_mode=[[3, 0]], controlnet_conditioning_scale=0.8, generator=3, **call
    )
    other = alone(
        "a", control_image=[CONTROLS[0]], control_mode=[3], controlnet_conditioning_scale=0.8, generator=3, **call
    )
    assert np.array_equal(several.images, expected.images)
    assert np.abs(several.images - other.images).max() > 0.01


def test_conversion_both_ways(folder, tmp_path):
    assert_round_trip(
        folder, tmp_path, prompt="a", control_image=CONTROLS, control_mode=[1, 2], num_inference_steps=2
    )  # fmt: skip


def test_folders_of_several_networks(pairs, tmp_path):
    ours, theirs = pairs["", "two"]
    theirs.save_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    ours.save_pretrained(tmp_path / "back", to_diffusers=True)
    for name, library in (("theirs", "diffusers"), ("ours", "ppdiffusers"), ("back", "diffusers.models")):
        index = json.loads((tmp_path / name / "model_index.json").read_text())
        assert index["controlnet"] == [library, "MultiControlNetUnionModel"]
        again = StableDiffusionXLControlNetUnionPipeline.from_pretrained(tmp_path / name)
        assert isinstance(again.controlnet, MultiControlNetUnionModel) and len(again.controlnet.nets) == 2
    reference = diffusers.StableDiffusionXLControlNetUnionPipeline
    with pytest.raises(AttributeError, match="MultiControlNetUnionModel"):
        reference.from_pretrained(tmp_path / "theirs")
    back = reference.from_pretrained(tmp_path / "back")
    assert isinstance(back.controlnet, Reference)
    state, expected = back.controlnet.state_dict(), theirs.controlnet.state_dict()
    assert all(np.array_equal(value.numpy(), state[key].numpy()) for key, value in expected.items())


# -- AutoPipeline -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder without ControlNets, and its pipeline."""
    folder = tiny_stable_diffusion_xl(tmp_path_factory.mktemp("xl"))
    return folder, ppdiffusers.StableDiffusionXLPipeline.from_pretrained(folder)


@pytest.mark.parametrize("task", TASKS)
def test_auto_pipeline(pairs, networks, plain, task):
    folder, pipe = plain
    auto = AUTO[task]
    reference = getattr(diffusers, auto.__name__).from_pretrained(folder, controlnet=networks[1][0])
    assert type(reference).__name__ == name_of(task)
    for made in (
        auto.from_pretrained(folder, controlnet=networks[0][0]),
        auto.from_pretrained(folder, controlnet=networks[0]),
        auto.from_pipe(pipe, controlnet=networks[0][0]),
        auto.from_pipe(pairs["", "two"][0]),
    ):
        assert type(made).__name__ == name_of(task)
    assert type(auto.from_pipe(made, controlnet=None)).__name__ == name_of(task).replace("ControlNetUnion", "")


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_all_problems_are_in_one_message(pairs, task):
    with pytest.raises(InputError) as caught:
        pairs[task, "one"][0](
            [*PROMPTS, "c"], **STARTS[task], control_image=[CONTROLS, *CONTROLS], control_mode=[5, None],
            control_guidance_start=0.8, control_guidance_end=0.2, controlnet_conditioning_scale=[1.0] * 3,
            num_inference_steps=0,
        )  # fmt: skip
    for part in ("`control_image[0]` has 2 images for 3", "has 3 entries for 2 control image(s)", "`control_mode` 5",
                 "`control_mode` None", "`control_image` has 3 images and `control_mode` 2 types",
                 "`num_inference_steps`"):  # fmt: skip
        assert part in str(caught.value)


def test_numbers_of_images_for_several_networks(pairs):
    with pytest.raises(InputError, match="`control_image` has 1 and `control_mode` 2 entries for 2 ControlNets"):
        pairs["", "two"][0]("a", control_image=CONTROLS[0], control_mode=[0, 1])
    with pytest.raises(InputError, match=r"has 2 images and `control_mode` 1 types for `controlnet.nets\[1\]`"):
        pairs["", "two"][0]("a", control_image=[CONTROLS[0], CONTROLS], control_mode=[0, [1]])


def test_no_images_and_no_types(pairs):
    with pytest.raises(InputError, match="`control_image` is an empty list"):
        pairs["", "one"][0]("a", control_image=[], control_mode=[])
    with pytest.raises(InputError, match="`control_mode` None is not a control type: pass integers from 0 to 4"):
        pairs["", "one"][0]("a", control_image=CONTROLS[0])


def test_networks_of_other_pipelines(pairs, tmp_path):
    ours, _ = pairs["", "one"]
    tiny_xl_controlnet().save_pretrained(tmp_path)
    network = ppdiffusers.ControlNetModel.from_pretrained(tmp_path)
    union = StableDiffusionXLControlNetUnionPipeline(**{**ours.components, "controlnet": network})
    with pytest.raises(InputError, match="is a ControlNetModel, expected a ControlNetUnionModel"):
        union("a", **TWO_TYPES)
    plain = ppdiffusers.StableDiffusionXLControlNetPipeline(**ours.components)
    with pytest.raises(InputError, match="is a ControlNetUnionModel, expected a ControlNetModel"):
        plain("a", image=CONTROLS[0])


def test_a_network_for_another_unet(pairs, tmp_path):
    tiny_xl_controlnet_union(cross_attention_dim=16).save_pretrained(tmp_path)
    made = StableDiffusionXLControlNetUnionPipeline.from_pipe(
        pairs["", "one"][0], controlnet=ControlNetUnionModel.from_pretrained(tmp_path)
    )  # fmt: skip
    with pytest.raises(InputError, match="its cross_attention_dim is 16, expected 56"):
        made("a", **TWO_TYPES)
