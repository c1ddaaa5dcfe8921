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
from ppdiffusers.core.errors import SourceError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.single_file import Link, parse_link, place, tensors_to_write
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


NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
DDIM = {"clip_sample": False, "set_alpha_to_one": False}
EULER = ("EulerDiscreteScheduler", {**NOISE, "timestep_spacing": "leading"})
PNDM = ("PNDMScheduler", {**NOISE, "skip_prk_steps": True, "set_alpha_to_one": False})
# scheduler/scheduler_config.json of the folders on the hub from which diffusers reads the configurations.
SCHEDULERS = {
    "sd1": PNDM,
    "sd1_inpaint": ("DDIMScheduler", {**NOISE, **DDIM}),
    "instruct_pix2pix": ("EulerAncestralDiscreteScheduler", NOISE),
    "sd2": ("DDIMScheduler", {**NOISE, **DDIM, "prediction_type": "v_prediction"}),
    "sd2_inpaint": PNDM,
    "upscaler": (
        "DDIMScheduler",
        {**NOISE, **DDIM, "beta_start": 0.0001, "beta_end": 0.02, "prediction_type": "v_prediction"},
    ),
    "sdxl": EULER,
    "sdxl_inpaint": EULER,
    "sdxl_refiner": EULER,
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_are_those_of_the_folders_on_the_hub(name):
    class_name, config = FAMILIES[name].components["scheduler"]
    expected_class, expected = SCHEDULERS[name]
    assert class_name == expected_class
    theirs = getattr(diffusers, expected_class).from_config(expected)
    ours = registry.components()[class_name].load().from_config(config)
    for key, value in theirs.config.items():
        if not key.startswith("_"):
            assert ours.config[key] == value, key


def test_autoencoders_of_inpainting():
    """Their size is that of tiles; XL's does not overflow in half precision."""
    assert FAMILIES["sd1_inpaint"].components["vae"][1]["sample_size"] == 256
    config = FAMILIES["sdxl_inpaint"].components["vae"][1]
    assert (config["sample_size"], config["force_upcast"], config["scaling_factor"]) == (512, False, 0.13025)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("https://huggingface.co/a/b/blob/main/x.safetensors", ("hf", "a/b", "main", "x.safetensors")),
        ("https://hf.co/a/b/resolve/v1.0/c/x.ckpt?download=true", ("hf", "a/b", "v1.0", "c/x.ckpt")),
        ("https://huggingface.co/a/b/resolve/main/my%20mix%2B.ckpt#top", ("hf", "a/b", "main", "my mix+.ckpt")),
        ("https://huggingface.co/a/b/blob/refs%2Fpr%2F3/x.ckpt", ("hf", "a/b", "refs/pr/3", "x.ckpt")),
        ("huggingface.co/a/b/c/x.ckpt", ("hf", "a/b", None, "c/x.ckpt")),
        ("https://mirror.example/a/b/resolve/main/x.ckpt", ("hf", "a/b", "main", "x.ckpt")),
        ("https://modelscope.cn/models/a/b/resolve/master/x.ckpt", ("modelscope", "a/b", "master", "x.ckpt")),
        ("models/a/x.ckpt", None),
        ("/home/huggingface.co/x.ckpt", None),
    ],
)
def test_addresses_of_files(link, expected, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    found = parse_link(link)
    assert found == (None if expected is None else Link(*expected))


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("https://civitai.com/api/download/models/1?token=secret", "not downloaded from this host"),
        ("http://me:secret@example.com/x.ckpt", "not downloaded from this host"),
        ("https://huggingface.co/a/b", "not that of a file"),
        ("https://huggingface.co/a/b/tree/main", "not that of a file"),
        ("https://huggingface.co/datasets/a/b/resolve/main/x.ckpt", "not that of a file"),
    ],
)
def test_addresses_that_are_not_supported(link, problem):
    with pytest.raises(SourceError, match=problem) as error:
        parse_link(link)
    assert "https://huggingface.co/<owner>/<model>/blob/main/<file>" in str(error.value)
    assert "secret" not in str(error.value)
