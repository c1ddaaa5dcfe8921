"""The published models that ship with ppdiffusers: recognised from the shapes of their real sizes, without memory."""

from __future__ import annotations

from functools import cache

import diffusers
import paddle
import pytest
import torch
import transformers

from ppdiffusers import registry
from ppdiffusers.convert.single_files.layouts import LAYOUTS, layouts_to_write
from ppdiffusers.convert.single_files.published import FAMILIES
from ppdiffusers.convert.single_files.recognition import recognise
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.single_file import place, tensors_to_write
from ppdiffusers.io.weights import Checkpoint

# Numbers of parameters of the published networks.
PARAMETERS = {
    ("sd1", "unet"): 859_520_964,
    ("sd1", "vae"): 83_653_863,
    ("sd1", "text_encoder"): 123_060_480,
    ("sd2", "unet"): 865_910_724,
    ("sd2", "text_encoder"): 340_387_840,
    ("sdxl", "unet"): 2_567_463_684,
    ("sdxl", "text_encoder_2"): 694_659_840,
}


def networks(name: str) -> dict:
    """Component -> (class name, configuration), for the components with weights."""
    found = FAMILIES[name].components
    return {part: entry for part, entry in found.items() if registry.components()[entry[0]].has_weights}


@cache
def empty(name: str, part: str):
    class_name, config = networks(name)[part]
    with paddle.LazyGuard():
        return registry.components()[class_name].load().from_config(config)


def shapes_only(layer) -> dict[str, LazyTensor]:
    def never() -> None:
        raise AssertionError("a tensor is read")

    return {key: LazyTensor("float16", tuple(tensor.shape), never) for key, tensor in layer.state_dict().items()}


def whole_file(name: str) -> dict[str, LazyTensor]:
    """Names and shapes of the single file of a published model."""
    layers = {part: empty(name, part) for part in networks(name)}
    if FAMILIES[name].pipeline:
        layouts = layouts_to_write({part: (type(layer).__name__, layer.config) for part, layer in layers.items()})
    else:
        layouts = {part: LAYOUTS[type(layer).__name__][-1 if part == "vae" else 0] for part, layer in layers.items()}
    files = [tensors_to_write(layouts[part], layer, shapes_only(layer)) for part, layer in layers.items()]
    return {key: tensor for file in files for key, tensor in file.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_published_sizes_are_recognised_and_fit(name):
    file = whole_file(name)
    metadata = {"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"} if name == "sdxl_vae" else {}
    assert recognise(file, metadata) is FAMILIES[name]
    checkpoint = Checkpoint(file, "pytorch", (), {})
    for part in networks(name):
        placed = place(empty(name, part), checkpoint)
        assert placed is not None
        assert placed.problems == []
        assert placed.unused == []
    if FAMILIES[name].pipeline:
        unet = {key: tensor for key, tensor in file.items() if key.startswith("model.diffusion_model.")}
        assert recognise(unet) is FAMILIES[name]  # without the text encoders


@pytest.mark.parametrize(("name", "part"), PARAMETERS)
def test_numbers_of_parameters(name, part):
    assert empty(name, part).num_parameters() == PARAMETERS[name, part]


@pytest.mark.parametrize("name", FAMILIES)
def test_configurations_mean_the_same_to_the_originals(name):
    for part, (class_name, config) in networks(name).items():
        with torch.device("meta"):
            if hasattr(transformers, class_name):
                theirs = getattr(transformers, class_name)(transformers.CLIPTextConfig(**config))
            else:
                theirs = getattr(diffusers, class_name).from_config(config)
        expected = {
            key: sorted(tensor.shape) for key, tensor in theirs.state_dict().items() if "position_ids" not in key
        }
        found = {key: sorted(tensor.shape) for key, tensor in empty(name, part).state_dict().items()}
        assert found == expected
    for part, (class_name, config) in FAMILIES[name].components.items():
        if hasattr(diffusers, class_name) and "cheduler" in class_name:
            theirs = getattr(diffusers, class_name).from_config(config)
            ours = registry.components()[class_name].load().from_config(config)
            assert {key: ours.config[key] for key in config} == {key: theirs.config[key] for key in config}, part
