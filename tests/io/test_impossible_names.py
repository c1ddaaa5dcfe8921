"""Names and paths that no system has, and values that are not names: our error at every entrance."""

from pathlib import Path

import pytest

import ppdiffusers
import ppdiffusers.transformers
from ppdiffusers.core.errors import InputError, PPDiffusersError, SourceError
from ppdiffusers.core.files import check_path, expand_user, path_inside
from ppdiffusers.utils import load_image
from tests.support.checkpoints import tiny_stable_diffusion

IMPOSSIBLE = (
    "x" * 300,
    "a/" + "b" * 300,
    "é" * 200,
    "/".join(["d"] * 3000),
    "a\0b",
    "\ud800",
    "name ",
    " ",
    "~nobody-has-this-name/x",
    "x" * 300 + ".safetensors",
    Path("x" * 300),
    Path("a\ud800"),
    b"bytes",
    3,
    1.5,
    ["a"],
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("torch"))


@pytest.fixture(scope="module")
def pipe(model):
    return ppdiffusers.StableDiffusionPipeline.from_pretrained(model)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("PPDIFFUSERS_OFFLINE", "1")
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path))


def entrances(model, pipe):
    """List (what, function of a name)."""
    weights = {"weight_name": "x.safetensors"}
    unet, tokenizer = ppdiffusers.UNet2DConditionModel, ppdiffusers.transformers.CLIPTokenizer
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    sd = ppdiffusers.StableDiffusionPipeline
    return {
        "pipeline": sd.from_pretrained,
        "any pipeline": ppdiffusers.DiffusionPipeline.from_pretrained,
        "automatic pipeline": ppdiffusers.AutoPipelineForText2Image.from_pretrained,
        "download": ppdiffusers.DiffusionPipeline.download,
        "network": unet.from_pretrained,
        "scheduler": ppdiffusers.DDIMScheduler.from_pretrained,
        "configuration": unet.load_config,
        "encoder": ppdiffusers.transformers.CLIPTextModel.from_pretrained,
        "tokenizer": tokenizer.from_pretrained,
        "image processor": ppdiffusers.transformers.CLIPImageProcessor.from_pretrained,
        "single file": sd.from_single_file,
        "network in a single file": unet.from_single_file,
        "configuration of a single file": lambda name: sd.from_single_file(file, config=name),
        "original configuration": lambda name: sd.from_single_file(file, original_config=name),
        "LoRA": pipe.load_lora_weights,
        "LoRA file": lambda name: pipe.load_lora_weights(model / "unet", weight_name=name),
        "LoRA folder": lambda name: pipe.load_lora_weights(model, subfolder=name, **weights),
        "adapters": pipe.set_adapters,
        "adapters to delete": pipe.delete_adapters,
        "textual inversion": lambda name: pipe.load_textual_inversion(name, token="<x>"),
        "IP-Adapter": lambda name: pipe.load_ip_adapter(name, subfolder="models", **weights),
        "IP-Adapter folder": lambda name: pipe.load_ip_adapter(model, subfolder=name, **weights),
        "custom pipeline": lambda name: sd.from_pretrained(model, custom_pipeline=name),
        "subfolder": lambda name: unet.from_pretrained(model, subfolder=name),
        "subfolder of a configuration": lambda name: ppdiffusers.DDIMScheduler.load_config(model, subfolder=name),
        "variant": lambda name: unet.from_pretrained(model / "unet", variant=name),
        "revision": lambda name: unet.from_pretrained("a/b", revision=name),
        "hub": lambda name: unet.from_pretrained("a/b", source=name),
        "image": load_image,
    }


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=lambda name: ascii(name)[:20])
def test_loading(model, pipe, name):
    functions = entrances(model, pipe)
    for what, function in functions.items():
        with pytest.raises(PPDiffusersError) as error:
            function(name)
        assert len(str(error.value)) < 8000, what


@pytest.mark.parametrize("name", ["x" * 300, "a/" + "b" * 300, "a\0b", "\ud800", Path("a\ud800"), 3, None, b"x", ""])
def test_saving(model, pipe, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for component in (pipe, pipe.unet, pipe.scheduler, pipe.text_encoder, pipe.tokenizer, pipe.feature_extractor):
        with pytest.raises(InputError):
            component.save_pretrained(name)
    with pytest.raises(InputError):
        pipe.save_lora_weights(name, unet_lora_layers={})
    if name:
        with pytest.raises(InputError, match="variant"):
            pipe.unet.save_pretrained(tmp_path / "out", variant=name if isinstance(name, str) else [name])
    assert not list(tmp_path.rglob("*.safetensors"))


def test_names_up_to_the_limit_are_accepted(tmp_path):
    name = "x" * 255
    (tmp_path / name).mkdir()
    ppdiffusers.DDIMScheduler().save_pretrained(tmp_path / name / "x")
    assert ppdiffusers.DDIMScheduler.from_pretrained(tmp_path / name, subfolder="x")
    assert expand_user(tmp_path / name) == tmp_path / name
    assert path_inside(tmp_path, name, "subfolder") == check_path(tmp_path / name)
    with pytest.raises(InputError, match="too long"):
        check_path(tmp_path / "missing" / (name + "x"))


def test_a_long_name_of_the_hub(monkeypatch):
    """`huggingface_hub` refuses names that other hubs have."""
    with pytest.raises(SourceError, match="no hub has"):
        ppdiffusers.UNet2DConditionModel.from_pretrained("a" * 96 + "/" + "b" * 100)
