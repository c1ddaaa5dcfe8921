"""Stable Diffusion XL with ControlNets against diffusers, live: text to image, image to image, inpainting."""

import json

import diffusers
import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers import ControlNetModel, MultiControlNetModel, StableDiffusionXLControlNetPipeline
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
from tests.support.parity import noise
from tests.support.stable_diffusion_xl import (
    tiny_scheduler,
    tiny_stable_diffusion_xl,
    tiny_xl_controlnet,
    tiny_xl_controlnet_pipeline,
)

TASKS = {"": "image", "Img2Img": "control_image", "Inpaint": "control_image"}
CONTROL = make_image(40, 24, 1)
IMAGES = {"image": make_image(40, 24), "mask_image": box_mask(40, 24, (4, 6, 30, 20))}
EMBEDS = {
    "prompt": None,
    **{name: noise(shape, name) for name, shape in (("prompt_embeds", (2, 77, 56)), ("pooled_prompt_embeds", (2, 20)))},
    "negative_prompt_embeds": noise((2, 77, 56), "negative"),
    "negative_pooled_prompt_embeds": noise((2, 20), "negative pooled"),
}


def name_of(task):
    return f"StableDiffusionXLControlNet{task}Pipeline"


def arguments_of(task, control=CONTROL):
    """Images of a call of this task."""
    starts = {"": {}, "Img2Img": {"image": IMAGES["image"]}, "Inpaint": IMAGES}[task]
    return {**starts, TASKS[task]: control}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    networks = [tiny_xl_controlnet(seed) for seed in (20, 21)]
    of = diffusers.StableDiffusionXLControlNetPipeline
    return {
        "one": tiny_xl_controlnet_pipeline(tmp_path_factory.mktemp("one"), of, networks[0]),
        "two": tiny_xl_controlnet_pipeline(tmp_path_factory.mktemp("two"), of, networks),
    }


@pytest.fixture(scope="module")
def loaded(folders):
    """(task, number of ControlNets) -> both pipelines."""
    return {
        (task, count): load_classes(folder, *(getattr(library, name_of(task)) for library in (ppdiffusers, diffusers)))
        for count, folder in folders.items()
        for task in TASKS
    }


@pytest.fixture
def pairs(loaded):
    for ours, theirs in loaded.values():
        ours.scheduler = ppdiffusers.EulerDiscreteScheduler.from_config(ours.original_scheduler.config)
        theirs.scheduler = tiny_scheduler()
    return loaded


CALLS = {
    ("", "one"): {},
    ("", "sizes"): {
        "original_size": (50, 70), "target_size": (64, 40), "crops_coords_top_left": (3, 5), "clip_skip": 1,
        "negative_original_size": (20, 30), "negative_target_size": (24, 56), "controlnet_conditioning_scale": 0.4,
    },
    ("", "guess mode, two prompts"): {"prompt": PROMPTS, "guess_mode": True, "num_images_per_prompt": 2},
    ("", "without guidance, an interval, an end"): {
        "guidance_scale": 1.0, "control_guidance_start": 0.2, "control_guidance_end": 0.8, "num_inference_steps": 6,
        "denoising_end": 0.7,
    },
    ("", "embeddings"): EMBEDS,
    ("Img2Img", "two prompts"): {"prompt": PROMPTS, "prompt_2": PROMPTS[::-1], "num_images_per_prompt": 2},
    ("Img2Img", "another size, sizes"): {
        "height": 32, "width": 24, "strength": 0.5, "original_size": (50, 70), "negative_target_size": (24, 56),
    },
    ("Img2Img", "guess mode without guidance"): {"guess_mode": True, "guidance_scale": 1.0},
    ("Inpaint", "two prompts"): {"prompt": PROMPTS, "num_images_per_prompt": 2, "negative_prompt": ["blurry", "丑陋"]},
    ("Inpaint", "strength, rescaling, sizes"): {
        "strength": 0.6, "guidance_rescale": 0.5, "original_size": (50, 70), "crops_coords_top_left": (3, 5),
    },
    ("Inpaint", "guess mode, an interval"): {
        "guess_mode": True, "strength": 1.0, "control_guidance_end": 0.5, "denoising_end": 0.8,
        "num_inference_steps": 6,
    },
}  # fmt: skip


@pytest.mark.parametrize(("task", "case"), CALLS)
def test_calls(pairs, task, case):
    call = {"prompt": PROMPTS[1], "num_inference_steps": 4, "output_type": "np", **CALLS[task, case]}
    mine, reference = call_both(*pairs[task, "one"], seed=3, **arguments_of(task), **call)
    assert_images_agree(mine.images, reference.images)


@pytest.mark.parametrize("task", TASKS)
def test_several_networks(pairs, task):
    control = [make_image(40, 24, seed) for seed in (1, 2)]
    mine, reference = call_both(
        *pairs[task, "two"], seed=3, prompt=PROMPTS[1], num_inference_steps=4, output_type="np",
        **arguments_of(task, control), controlnet_conditioning_scale=[0.5, 1.1], control_guidance_start=[0.0, 0.3],
        control_guidance_end=[0.6, 1.0],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_inpainting_with_nine_channels_as_refiner(tmp_path):
    """Five numbers for the size, one text encoder, and a mask that the UNet reads."""
    class_ = diffusers.StableDiffusionXLControlNetInpaintPipeline
    network = tiny_xl_controlnet(20, cross_attention_dim=24, projection_class_embeddings_input_dim=20 + 8 * 5)
    folder = tiny_xl_controlnet_pipeline(
        tmp_path, class_, network, refiner=True, in_channels=9, requires_aesthetics_score=True
    )
    pipes = load_classes(folder, ppdiffusers.StableDiffusionXLControlNetInpaintPipeline, class_)
    mine, reference = call_both(
        *pipes, seed=3, prompt=PROMPTS, num_inference_steps=4, output_type="np", **arguments_of("Inpaint"),
        crops_coords_top_left=(3, 5), negative_aesthetic_score=1.0,
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_crop(pairs):
    mine, reference = call_both(
        *pairs["Inpaint", "one"], seed=3, prompt="a", num_inference_steps=4, padding_mask_crop=3,
        **arguments_of("Inpaint"),
    )  # fmt: skip
    assert_levels_agree(np.asarray(mine.images[0]), np.asarray(reference.images[0]))


def test_inpainting_with_pooled_residuals_uses_guess_mode(pairs, monkeypatch):
    """As in all other pipelines; diffusers' inpainting with XL requires `guess_mode=True` for it."""
    ours, theirs = pairs["Inpaint", "one"]
    for pipeline in (ours, theirs):
        config = type(pipeline.controlnet.config)({**pipeline.controlnet.config, "global_pool_conditions": True})
        monkeypatch.setitem(vars(pipeline.controlnet), "_internal_dict", config)
    call = {"prompt": PROMPTS[1], "num_inference_steps": 4, "output_type": "np", **arguments_of("Inpaint")}
    plain = call_both(ours, theirs, seed=3, **call)
    _, guessed = call_both(ours, theirs, seed=3, **call, guess_mode=True)
    assert_images_agree(plain[0].images, guessed.images)
    assert np.abs(plain[1].images - guessed.images).max() > 0.01


@pytest.mark.parametrize("task", ["", "Inpaint"])
def test_callback_replaces_tensors(pairs, task):
    name = TASKS[task]

    def change(pipeline, index, timestep, tensors):
        # diffusers' inpainting replaces the other tensors in later releases only
        pooled = {} if task else {"add_text_embeds": tensors["add_text_embeds"] * 0.7}
        return {name: tensors[name] * 0.5, "prompt_embeds": tensors["prompt_embeds"] * 1.2, **pooled}

    mine, reference = call_both(
        *pairs[task, "one"], seed=3, prompt=PROMPTS[1], num_inference_steps=3, output_type="np", **arguments_of(task),
        callback_on_step_end=change,
        callback_on_step_end_tensor_inputs=[name, "prompt_embeds", "add_text_embeds", "negative_pooled_prompt_embeds"],
    )  # fmt: skip
    assert_images_agree(mine.images, reference.images)


def test_residuals_matter(pairs):
    ours, _ = pairs["", "one"]
    settings = {"prompt": "a", "num_inference_steps": 3, "generator": 1, "output_type": "np"}
    images = [ours(image=make_image(32, 32, seed), **settings).images for seed in (0, 1)]
    assert np.abs(images[0] - images[1]).max() > 0.05


def test_conversion_both_ways(folders, tmp_path):
    assert_round_trip(folders["one"], tmp_path, prompt="a", image=CONTROL, num_inference_steps=2)


def test_folders_of_several_networks(pairs, tmp_path):
    ours, _ = pairs["", "two"]
    ours.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("controlnet*")} == {"controlnet", "controlnet_1"}
    assert json.loads((tmp_path / "model_index.json").read_text())["controlnet"][1] == "MultiControlNetModel"
    again = StableDiffusionXLControlNetPipeline.from_pretrained(tmp_path)
    assert isinstance(again.controlnet, MultiControlNetModel) and len(again.controlnet.nets) == 2


# -- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_all_problems_are_in_one_message(pairs, task):
    call = {**arguments_of(task, [CONTROL, CONTROL]), "num_inference_steps": 0, "height": -8}
    with pytest.raises(InputError) as caught:
        pairs[task, "one"][0](
            [*PROMPTS, "c"], prompt_2=["a"], negative_prompt=["a", "b"], control_guidance_start=0.8,
            control_guidance_end=0.2, original_size=(3,), **call,
        )  # fmt: skip
    for part in ("`prompt_2` has 1", "`negative_prompt` has 2 entries for 3", f"`{TASKS[task]}` has 2 images for 3",
                 "0 <= start < end", "`height`", "`num_inference_steps`", "`original_size`"):  # fmt: skip
        assert part in str(caught.value)


def test_images_of_other_sizes(pairs):
    with pytest.raises(InputError, match=r"`image` is 16 x 16 and `control_image` 24 x 40 \(height x width\)"):
        pairs["Img2Img", "one"][0]("a", image=make_image(16, 16), control_image=CONTROL)
    with pytest.raises(InputError, match=r"different sizes \(24 x 40, 16 x 16, height x width\)"):
        pairs["", "two"][0]("a", image=[CONTROL, make_image(16, 16)])
    with pytest.raises(InputError, match=r"`latents` must be of shape \(1, 4, 12, 20\)"):
        pairs["", "one"][0]("a", image=CONTROL, latents=paddle.zeros([1, 4, 16, 16]))


def test_a_network_for_another_unet(pairs, tmp_path):
    tiny_xl_controlnet(cross_attention_dim=16, block_out_channels=(16, 32, 64)).save_pretrained(tmp_path)
    made = StableDiffusionXLControlNetPipeline.from_pipe(
        pairs["", "one"][0], controlnet=ControlNetModel.from_pretrained(tmp_path)
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        made("a", image=CONTROL)
    assert "its cross_attention_dim is 16, expected 56" in str(caught.value)
    assert "its block_out_channels is [16, 32, 64], expected [16, 32, 48]" in str(caught.value)


def test_a_network_of_the_base_in_a_refiner(pairs, tmp_path):
    """Another UNet, other sizes, one text encoder: everything is in one message."""
    folder = tiny_stable_diffusion_xl(
        tmp_path, diffusers.StableDiffusionXLImg2ImgPipeline, refiner=True, block_out_channels=(16, 32, 64),
        attention_head_dim=[2, 4, 8], requires_aesthetics_score=True,
    )  # fmt: skip
    made = ppdiffusers.StableDiffusionXLControlNetImg2ImgPipeline.from_pretrained(
        folder, controlnet=pairs["", "one"][0].controlnet
    )
    with pytest.raises(InputError) as caught:
        made("a", prompt_2="b", num_inference_steps=0, **arguments_of("Img2Img"))
    for part in ("its cross_attention_dim is 56, expected 24", "expected [16, 32, 64]", "`prompt_2`",
                 "its projection_class_embeddings_input_dim is 68, expected 60", "`num_inference_steps`"):  # fmt: skip
        assert part in str(caught.value)


def test_inpainting_of_latents(pairs):
    with pytest.raises(InputError, match="`image` has 4 channels"):
        pairs["Inpaint", "one"][0](
            "a", **{**arguments_of("Inpaint"), "image": paddle.zeros([1, 4, 12, 20])}
        )  # fmt: skip
