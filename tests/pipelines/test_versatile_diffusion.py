"""Versatile Diffusion's pipelines against diffusers'. Its dual-guided one raises a TypeError there: the reference runs
with the argument left out that its transformers do not know (`leave_out_mask_argument`)."""

import json

import numpy as np
import paddle
import pytest
import torch

import ppdiffusers
from ppdiffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    VersatileDiffusionDualGuidedPipeline,
    VersatileDiffusionImageVariationPipeline,
    VersatileDiffusionPipeline,
    VersatileDiffusionTextToImagePipeline,
)
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
from tests.pipelines.support import PROMPTS, assert_pictures_agree, call_both, picture
from tests.support.parity import noise
from tests.support.versatile import load_both, tiny_text_unet, tiny_versatile

TEXT, IMAGE, DUAL = (f"VersatileDiffusion{task}Pipeline" for task in ("TextToImage", "ImageVariation", "DualGuided"))
PICTURES = [picture(40, 36), picture(33, 50, seed=1)]
# weak guidance, so that it does not amplify rounding; pictures of 10 000 numbers, so that 1 in 1000 is a number
COMMON = {"num_inference_steps": 3, "guidance_scale": 2.0, "output_type": "np"}
NOISE = {"latents": noise((1, 4, 28, 32)), "height": 56, "width": 64}
NOISES = {"latents": noise((2, 4, 24, 20)), "height": 48, "width": 40}
CALLS = {
    "one text": (TEXT, {"prompt": PROMPTS[0], **NOISE}),
    "two texts, each with what to avoid": (TEXT, {"prompt": PROMPTS, "negative_prompt": ["blue", "a cat"], **NOISES}),
    "no guidance": (TEXT, {"prompt": PROMPTS, "guidance_scale": 1.0, **NOISES}),
    "two of each text": (TEXT, {"prompt": PROMPTS, "num_images_per_prompt": 2, "seed": 5}),
    "fresh noise": (TEXT, {"prompt": PROMPTS[1], "negative_prompt": "a red circle", "eta": 0.7, "seed": 6}),
    "too long a text": (TEXT, {"prompt": "a red circle, " * 30, **NOISE}),
    "one picture": (IMAGE, {"image": PICTURES[0], **NOISE}),
    "two pictures, each with what to avoid": (IMAGE, {"image": PICTURES, "negative_prompt": PICTURES[::-1], **NOISES}),
    "picture, no guidance": (IMAGE, {"image": PICTURES, "guidance_scale": 0.5, **NOISES}),
    "two of each picture": (IMAGE, {"image": PICTURES, "num_images_per_prompt": 2, "seed": 7}),
    "tensors": (IMAGE, {"image": np.floor(255 * np.abs(np.sin(noise((2, 3, 40, 44))))), **NOISES}),
    "both": (DUAL, {"prompt": PROMPTS[0], "image": PICTURES[0], **NOISE}),
    "two of both": (DUAL, {"prompt": PROMPTS, "image": PICTURES, "text_to_image_strength": 0.8, **NOISES}),
    "the picture alone": (DUAL, {"prompt": PROMPTS[0], "image": PICTURES[1], "text_to_image_strength": 0.0, **NOISE}),
    "both, no guidance": (DUAL, {"prompt": PROMPTS, "image": PICTURES, "guidance_scale": 1.0, **NOISES}),
    "two for each pair": (DUAL, {"prompt": PROMPTS, "image": PICTURES, "num_images_per_prompt": 2, "seed": 8}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_versatile(tmp_path_factory.mktemp("versatile"))


@pytest.mark.parametrize("name", CALLS)
def test_calls(folder, name):
    pipeline, call = CALLS[name]
    ours, theirs = load_both(pipeline, folder)
    mine, reference = call_both(ours, theirs, **{**COMMON, **call})
    assert_pictures_agree(mine.images, reference.images)


def test_the_published_strength_of_guidance(folder):
    """7.5, and more steps: it amplifies rounding, so the 8-bit levels may differ a little more often."""
    ours, theirs = load_both(DUAL, folder)
    call = {"prompt": PROMPTS[0], "image": PICTURES[0], "num_inference_steps": 20, "output_type": "np", "seed": 4}
    mine, reference = call_both(ours, theirs, **call)
    assert_pictures_agree(mine.images, reference.images, different=2e-2)


@pytest.mark.parametrize("output_type", ["pil", "pd", "latent"])
def test_output_types(folder, output_type):
    ours, theirs = load_both(TEXT, folder)
    call = {"prompt": PROMPTS[0], "num_inference_steps": 2, **NOISE}
    images = ours(output_type=output_type, **{**call, "latents": paddle.to_tensor(call["latents"])}).images
    if output_type == "pil":
        assert images[0].size == (64, 56)
    else:
        theirs_type = {"pd": "pt"}.get(output_type, output_type)
        reference = theirs(output_type=theirs_type, **{**call, "latents": torch.from_numpy(call["latents"])}).images
        np.testing.assert_allclose(images.numpy(), reference.numpy(), atol=1e-4)
    assert isinstance(ours(PROMPTS[0], num_inference_steps=1, return_dict=False), tuple)


def test_callbacks(folder):
    pipe, seen = load(TEXT, folder), []
    pipe(PROMPTS[0], num_inference_steps=4, callback=lambda i, t, latents: seen.append((i, latents.shape)),
         callback_steps=2)  # fmt: skip
    assert seen == [(0, [1, 4, 16, 16]), (2, [1, 4, 16, 16])]


# -- which transformers the UNet has ----------------------------------------------------------------------------------


def load(name, folder, **kwargs):
    pipe = getattr(ppdiffusers, name).from_pretrained(folder, **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def assert_same_weights(ours, theirs):
    linear = {f"{name}.weight" for name, module in theirs.named_modules() if isinstance(module, torch.nn.Linear)}
    reference = {k: v.numpy().T if k in linear else v.numpy() for k, v in theirs.state_dict().items()}
    found = {k: v.numpy() for k, v in ours.state_dict().items()}
    assert found.keys() == reference.keys()
    assert all(np.array_equal(found[key], reference[key]) for key in reference)


@pytest.mark.parametrize("name", [TEXT, DUAL, IMAGE])
def test_the_unet_is_the_originals(folder, name):
    ours, theirs = load_both(name, folder)
    if name != IMAGE:
        ours.remove_unused_weights()
        theirs.remove_unused_weights()
        assert ours.text_unet is None
    assert_same_weights(ours.image_unet, theirs.image_unet)
    assert bool(ours.image_unet.config.dual_cross_attention) == bool(theirs.image_unet.config.dual_cross_attention)
    assert not any(layer.training for layer in ours.image_unet.sublayers(include_self=True))


def test_what_comes_in_stays_as_it_is(folder):
    """diffusers changes the UNets that it is given, so that a second pipeline of them changes them back."""
    whole = load("VersatileDiffusionPipeline", folder)
    image_unet, text_unet = whole.image_unet, whole.text_unet
    before = {key: id(value) for key, value in image_unet.state_dict().items()}
    pipes = [load_shared(VersatileDiffusionTextToImagePipeline, whole) for _ in range(2)]
    pipes.append(VersatileDiffusionTextToImagePipeline.from_pipe(pipes[0]))
    pipes.append(
        VersatileDiffusionTextToImagePipeline.from_pipe(load_shared(VersatileDiffusionDualGuidedPipeline, whole))
    )
    assert {key: id(value) for key, value in image_unet.state_dict().items()} == before
    first = pipes[0].image_unet.state_dict()
    for pipe in pipes:
        state = pipe.image_unet.state_dict()
        assert all(state[key] is value for key, value in first.items())  # nothing is copied
    own = {id(value) for value in (*image_unet.state_dict().values(), *text_unet.state_dict().values())}
    assert {id(value) for value in first.values()} <= own


def load_shared(cls, whole):
    names, _ = cls.component_names()
    return cls(**{name: whole.components[name] for name in names})


def test_a_unet_with_both_serves_every_task(folder):
    """The transformers of a UNet with two conditions can be taken apart again."""
    dual = load(DUAL, folder)
    dual.remove_unused_weights()
    call = {"num_inference_steps": 2, "generator": 3, "output_type": "np"}
    for cls, given in (
        (VersatileDiffusionTextToImagePipeline, {"prompt": PROMPTS}),
        (VersatileDiffusionImageVariationPipeline, {"image": PICTURES}),
    ):
        taken = cls.from_pipe(dual)
        taken.set_progress_bar_config(disable=True)
        expected = load(cls.__name__, folder)(**given, **call).images
        np.testing.assert_array_equal(taken(**given, **call).images, expected)


def test_unets_that_do_not_belong_together(folder, tmp_path):
    tiny_text_unet(layers_per_block=2, attention_head_dim=8).save_pretrained(tmp_path)
    other = UNetFlatConditionModel.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="different plans") as error:
        load(TEXT, folder, text_unet=other)
    assert len(error.value.problems) == 3  # the blocks with transformers: down, middle, up
    with pytest.raises(InputError, match="text_unet"):
        load(DUAL, folder, text_unet=None)


# -- all tasks at once ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(folder):
    return load("VersatileDiffusionPipeline", folder)


def test_tasks(folder, whole):
    call = {"num_inference_steps": 2, "generator": 3, "output_type": "np"}
    for name, method, given in (
        (TEXT, whole.text_to_image, {"prompt": PROMPTS}),
        (IMAGE, whole.image_variation, {"image": PICTURES}),
        (DUAL, whole.dual_guided, {"prompt": PROMPTS, "image": PICTURES}),
        (TEXT, whole.text_to_image, {"prompt": PROMPTS[:1]}),
    ):
        np.testing.assert_array_equal(method(**given, **call).images, load(name, folder)(**given, **call).images)


def test_tasks_follow_the_components(folder):
    pipe = load("VersatileDiffusionPipeline", folder)
    call = {"num_inference_steps": 2, "generator": 3, "output_type": "np"}
    before = pipe.text_to_image(PROMPTS[0], **call).images
    np.testing.assert_array_equal(pipe.text_to_image(PROMPTS[0], **call).images, before)
    pipe.scheduler = DDIMScheduler(beta_end=0.03, clip_sample=False)
    after = pipe.text_to_image(PROMPTS[0], **call).images
    assert np.abs(after - before).max() > 0.01


def test_tasks_run_compiled(folder):
    """The share of the text is no constant of the program."""
    pipe = load("VersatileDiffusionPipeline", folder)
    call = {"prompt": PROMPTS, "image": PICTURES, "num_inference_steps": 2, "generator": 3, "output_type": "np"}
    eager = [pipe.dual_guided(text_to_image_strength=share, **call).images for share in (0.2, 0.7)]
    pipe.compile(backend="onednn")
    compiled = [pipe.dual_guided(text_to_image_strength=share, **call).images for share in (0.2, 0.7)]
    assert np.abs(eager[0] - eager[1]).max() > 0.01
    for one, other in zip(eager, compiled):
        np.testing.assert_allclose(one, other, atol=2e-3)


# -- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["versatile_diffusion", "diffusers", "deprecated"])
def test_forms_of_the_index(folder, tmp_path, library):
    """As published, and what diffusers writes today."""
    for part in folder.iterdir():
        (tmp_path / part.name).symlink_to(part)
    (tmp_path / "model_index.json").unlink()
    index = json.loads((folder / "model_index.json").read_text("utf-8"))
    index["text_unet"] = [library, "UNetFlatConditionModel"]
    (tmp_path / "model_index.json").write_text(json.dumps(index), "utf-8")
    pipe = DiffusionPipeline.from_pretrained(tmp_path)
    assert type(pipe) is VersatileDiffusionPipeline
    assert type(pipe.text_unet) is UNetFlatConditionModel


@pytest.mark.parametrize("name", [TEXT, DUAL, IMAGE])
@pytest.mark.parametrize("unused", ["kept", "removed"])
def test_saved_and_loaded(folder, tmp_path, name, unused):
    """Ours comes back as it was; diffusers' comes out of what we write for it."""
    given = {"prompt": PROMPTS, "image": PICTURES}
    given = {key: given[key] for key in {TEXT: ["prompt"], IMAGE: ["image"], DUAL: given}[name]}
    call = {"num_inference_steps": 2, "output_type": "np", "guidance_scale": 2.0, **given, **NOISES}
    pipe = load(name, folder)
    if unused == "removed" and name != IMAGE:
        pipe.remove_unused_weights()
    expected = pipe(**{**call, "latents": paddle.to_tensor(call["latents"])}).images
    pipe.save_pretrained(tmp_path / "ours")
    again = load(name, tmp_path / "ours")
    np.testing.assert_array_equal(again(**{**call, "latents": paddle.to_tensor(call["latents"])}).images, expected)
    pipe.save_pretrained(tmp_path / "theirs", to_diffusers=True)
    ours, theirs = load_both(name, tmp_path / "theirs")
    mine, reference = call_both(ours, theirs, **call)
    assert_pictures_agree(mine.images, reference.images)
    np.testing.assert_allclose(mine.images, expected, atol=1e-6)


@pytest.mark.parametrize("name", [TEXT, DUAL, IMAGE])
def test_folders_of_single_tasks(folder, tmp_path, name):
    """What diffusers saves of a pipeline without its unused weights."""
    _, theirs = load_both(name, folder)
    if name != IMAGE:
        theirs.remove_unused_weights()
    theirs.save_pretrained(tmp_path)
    ours, again = load_both(name, tmp_path)
    assert_same_weights(ours.image_unet, again.image_unet)
    assert type(ours).__name__ == name
