"""Versatile Diffusion's folders and UNets: which transformers a pipeline's UNet has, saving, loading, conversion."""

import json

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers import (
    DiffusionPipeline,
    VersatileDiffusionDualGuidedPipeline,
    VersatileDiffusionImageVariationPipeline,
    VersatileDiffusionPipeline,
    VersatileDiffusionTextToImagePipeline,
)
from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
from tests.pipelines.support import PROMPTS, assert_images_agree, call_both
from tests.support.round_trip import there_and_back
from tests.support.versatile import (
    COMMON,
    DUAL,
    IMAGE,
    IMAGES,
    NOISES,
    TEXT,
    load,
    load_both,
    tiny_text_unet,
    tiny_versatile,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_versatile(tmp_path_factory.mktemp("versatile"))


# -- which transformers the UNet has ----------------------------------------------------------------------------------


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
    call = {**COMMON, "generator": 3}
    for cls, given in (
        (VersatileDiffusionTextToImagePipeline, {"prompt": PROMPTS}),
        (VersatileDiffusionImageVariationPipeline, {"image": IMAGES}),
    ):
        taken = cls.from_pipe(dual)
        taken.set_progress_bar_config(disable=True)
        expected = load(cls.__name__, folder)(**given, **call).images
        np.testing.assert_allclose(taken(**given, **call).images, expected, atol=1e-5)


def test_unets_that_do_not_belong_together(folder, tmp_path):
    tiny_text_unet(layers_per_block=2, attention_head_dim=8).save_pretrained(tmp_path)
    other = UNetFlatConditionModel.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="different architectures") as error:
        load(TEXT, folder, text_unet=other)
    assert len(error.value.problems) == 3  # the blocks with transformers: down, middle, up
    with pytest.raises(InputError, match="text_unet"):
        load(DUAL, folder, text_unet=None)


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


@pytest.mark.parametrize(
    ("name", "unused"), [(TEXT, "kept"), (TEXT, "removed"), (DUAL, "kept"), (DUAL, "removed"), (IMAGE, "needed")]
)
def test_saved_and_loaded(folder, tmp_path, name, unused):
    """Ours comes back as it was; diffusers' comes out of what we write for it."""
    given = {"prompt": PROMPTS, "image": IMAGES}
    given = {key: given[key] for key in {TEXT: ["prompt"], IMAGE: ["image"], DUAL: given}[name]}
    call = {"num_inference_steps": 2, "output_type": "np", "guidance_scale": 2.0, **given, **NOISES}
    pipe = load(name, folder)
    if unused == "removed":
        pipe.remove_unused_weights()
    expected = pipe(**{**call, "latents": paddle.to_tensor(call["latents"])}).images
    pipe.save_pretrained(tmp_path / "ours")
    again = load(name, tmp_path / "ours")
    np.testing.assert_allclose(
        again(**{**call, "latents": paddle.to_tensor(call["latents"])}).images, expected, atol=1e-5
    )
    pipe.save_pretrained(tmp_path / "theirs", to_diffusers=True)
    ours, theirs = load_both(name, tmp_path / "theirs")
    mine, reference = call_both(ours, theirs, **call)
    assert_images_agree(mine.images, reference.images)
    np.testing.assert_allclose(mine.images, expected, atol=1e-5)


@pytest.mark.parametrize("name", [TEXT, DUAL, IMAGE])
def test_folders_of_single_tasks(folder, tmp_path, name):
    """What diffusers saves of a pipeline without its unused weights: loaded, and converted both ways."""
    _, theirs = load_both(name, folder)
    if name != IMAGE:
        theirs.remove_unused_weights()
    theirs.save_pretrained(tmp_path / "source")
    ours, again = load_both(name, tmp_path / "source")
    assert type(ours).__name__ == name
    assert_same_weights(ours.image_unet, again.image_unet)
    paddle_folder, torch_folder = there_and_back(tmp_path / "source", tmp_path)
    assert_same_weights(load(name, paddle_folder).image_unet, load_both(name, torch_folder)[1].image_unet)


def test_converted_round_trip(folder, tmp_path):
    """The published folder; diffusers loads what comes back, and all three tasks give its images."""
    paddle_folder, torch_folder = there_and_back(folder, tmp_path)
    given = {"prompt": PROMPTS, "image": IMAGES}
    for name, keys in ((TEXT, ["prompt"]), (IMAGE, ["image"]), (DUAL, ["prompt", "image"])):
        ours, (_, theirs) = load(name, paddle_folder), load_both(name, torch_folder)
        mine, reference = call_both(ours, theirs, **{**COMMON, **NOISES, **{key: given[key] for key in keys}})
        assert_images_agree(mine.images, reference.images)
