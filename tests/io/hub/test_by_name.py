"""`from_pretrained` loads from a hub everything that it loads from a folder of diffusers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ppdiffusers
from ppdiffusers import convert_diffusers_to_paddle
from ppdiffusers.cli.main import main
from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.core.tensors import LazyTensor
from ppdiffusers.io.weights import write_safetensors
from ppdiffusers.models.adapters import create_lora
from ppdiffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from ppdiffusers.transformers import CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from tests.io.hub.conftest import files_under
from tests.io.hub.servers import PROTOCOLS
from tests.support.checkpoints import tiny_ddpm, tiny_stable_diffusion


@pytest.fixture
def torch_folder(tmp_path) -> Path:
    return tiny_stable_diffusion(tmp_path)


def same_weights(one, other) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(np.array_equal(first[k].numpy(), second[k].numpy()) for k in first)


@pytest.mark.parametrize("source", PROTOCOLS)
def test_a_pipeline_in_pytorchs_format(source, hub_of, tmp_path):
    folder = tiny_ddpm(tmp_path)
    hub_of(source, folder)
    pipe = ppdiffusers.DiffusionPipeline.from_pretrained("acme/tiny")
    assert type(pipe) is ppdiffusers.DDPMPipeline
    local = ppdiffusers.DDPMPipeline.from_pretrained(folder)
    assert same_weights(pipe.unet, local.unet)
    calls = {"num_inference_steps": 2, "output_type": "np", "generator": 0}
    assert np.array_equal(pipe(**calls).images, local(**calls).images)


def test_lora_and_textual_inversion(hub_of, torch_folder, tmp_path):
    unet = ppdiffusers.UNet2DConditionModel.from_pretrained(torch_folder, subfolder="unet")
    layers = create_lora(unet, ["to_q"], rank=2)
    repository = tmp_path / "repository"
    for name in (None, "other.safetensors"):
        ppdiffusers.StableDiffusionPipeline.save_lora_weights(repository, layers, weight_name=name)
    token = {"<style>": LazyTensor.of(np.ones((2, 32), np.float32))}
    write_safetensors(repository / "embeddings" / "learned_embeds.safetensors", token)
    hub_of("hf", repository)
    pipe = ppdiffusers.StableDiffusionPipeline.from_pretrained(torch_folder)
    pipe.load_lora_weights("acme/tiny", adapter_name="default")
    pipe.load_lora_weights("acme/tiny", adapter_name="other", weight_name="other.safetensors")
    assert pipe.get_list_adapters() == {"unet": ["default", "other"]}
    pipe.load_textual_inversion("acme/tiny", subfolder="embeddings")
    assert "<style>_1" in pipe.tokenizer.get_vocab()
    with pytest.raises(SourceError, match="no missing.safetensors"):
        pipe.load_lora_weights("acme/tiny", weight_name="missing.safetensors")


def test_each_kind_of_component(hub_of, torch_folder):
    hub_of("hf", torch_folder)
    networks = {
        "unet": ppdiffusers.UNet2DConditionModel,
        "vae": ppdiffusers.AutoencoderKL,
        "text_encoder": CLIPTextModel,
        "safety_checker": StableDiffusionSafetyChecker,
    }
    for name, cls in networks.items():
        loaded = cls.from_pretrained("acme/tiny", subfolder=name, source="hf")
        assert same_weights(loaded, cls.from_pretrained(torch_folder, subfolder=name)), name
    tokenizer = CLIPTokenizer.from_pretrained("acme/tiny", subfolder="tokenizer")
    text = "a red circle"
    assert tokenizer(text).input_ids == CLIPTokenizer.from_pretrained(torch_folder / "tokenizer")(text).input_ids
    processor = CLIPImageProcessor.from_pretrained("acme/tiny", subfolder="feature_extractor")
    assert processor.size == CLIPImageProcessor.from_pretrained(torch_folder / "feature_extractor").size
    scheduler = ppdiffusers.PNDMScheduler.from_pretrained("acme/tiny", subfolder="scheduler")
    assert scheduler.config.skip_prk_steps is True
    config = CLIPTextConfig.from_pretrained("acme/tiny", subfolder="text_encoder")
    assert config == CLIPTextConfig.from_pretrained(torch_folder / "text_encoder")


def test_components_that_the_caller_passes_are_not_downloaded(hub_of, torch_folder):
    hub = hub_of("hf", torch_folder)
    unet = ppdiffusers.UNet2DConditionModel.from_pretrained(torch_folder, subfolder="unet")
    pipe = ppdiffusers.StableDiffusionPipeline.from_pretrained(
        "acme/tiny", unet=unet, safety_checker=None, requires_safety_checker=False
    )
    assert pipe.unet is unet
    assert not [path for path in hub.fetched() if "/unet/" in path or "/safety_checker/" in path]


@pytest.mark.parametrize("source", PROTOCOLS)
def test_the_class_for_a_task(source, hub_of, torch_folder, no_sockets):
    """The index names the class; each file is downloaded once, passed components are not, and the cache is complete."""
    hub = hub_of(source, torch_folder)
    bare = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = ppdiffusers.AutoPipelineForImage2Image.from_pretrained("acme/tiny", **bare)
    assert type(pipe) is ppdiffusers.StableDiffusionImg2ImgPipeline
    fetched = [path for path in hub.fetched() if path.endswith(".safetensors")]
    assert len(fetched) == len(set(fetched)) == 3, "weights of the UNet, the VAE and the text encoder"
    no_sockets()
    again = ppdiffusers.AutoPipelineForInpainting.from_pretrained("acme/tiny", local_files_only=True, **bare)
    assert type(again) is ppdiffusers.StableDiffusionInpaintPipeline and same_weights(again.unet, pipe.unet)


@pytest.mark.parametrize("how", ["PPDIFFUSERS_OFFLINE", "HF_HUB_OFFLINE", "local_files_only"])
def test_a_pipeline_without_a_network(how, hub_of, tmp_path, monkeypatch, no_sockets):
    """From the cache, and from a folder of `download --to`."""
    hub_of("hf", tiny_ddpm(tmp_path))
    assert main(["download", "acme/tiny", "--quiet"]) == 0
    assert main(["download", "acme/tiny", "--quiet", "--to", str(tmp_path / "usb")]) == 0
    options = {}
    if how == "local_files_only":
        options = {"local_files_only": True}
    else:
        monkeypatch.setenv(how, "1")
    no_sockets()
    cached = ppdiffusers.DiffusionPipeline.from_pretrained("acme/tiny", **options)
    copied = ppdiffusers.DiffusionPipeline.from_pretrained(tmp_path / "usb", **options)
    assert same_weights(cached.unet, copied.unet)
    with pytest.raises(SourceError, match="skipped, because"):
        ppdiffusers.DiffusionPipeline.from_pretrained("acme/other", **options)


def test_download_gets_the_files_that_loading_needs(hub_of, torch_folder):
    hub = hub_of("hf", torch_folder)
    folder = ppdiffusers.StableDiffusionPipeline.download("acme/tiny", safety_checker=None)
    requests = len(hub.requests)
    assert "safety_checker/config.json" not in files_under(Path(folder))
    assert ppdiffusers.StableDiffusionPipeline.from_pretrained("acme/tiny", safety_checker=None)
    assert len(hub.requests) == requests
    assert ppdiffusers.DiffusionPipeline.download(torch_folder) == str(torch_folder)


def test_legacy_flags(hub_of, tmp_path):
    hub_of("hf", tiny_ddpm(tmp_path))
    hub_of("aistudio", tiny_ddpm(tmp_path), "acme/other")
    flags = {"from_diffusers": True, "resume_download": True}
    assert ppdiffusers.DDPMPipeline.from_pretrained("acme/tiny", from_hf_hub=True, **flags)
    assert ppdiffusers.DDPMPipeline.from_pretrained("acme/other", from_aistudio=True, **flags)
    with pytest.raises(SourceError, match="AI Studio"):
        ppdiffusers.DDPMPipeline.from_pretrained("acme/tiny", from_aistudio=True)
    with pytest.raises(InputError, match="source 'hfx' is unknown"):
        ppdiffusers.DDPMPipeline.from_pretrained("acme/tiny", source="hfx")


def test_an_unknown_argument_is_named_before_any_download(hub_of, tmp_path, caplog):
    hub = hub_of("hf", tiny_ddpm(tmp_path))
    with pytest.raises(SourceError):
        ppdiffusers.DDPMPipeline.from_pretrained("acme/tiny", unett=None, local_files_only=True)
    assert "unett=None" in caplog.text
    assert not hub.requests


def test_converting_by_name(hub_of, tmp_path):
    folder = tiny_ddpm(tmp_path)
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(
        folder / "unet/diffusion_pytorch_model.fp16.safetensors"
    )
    hub_of("hf", folder)
    convert_diffusers_to_paddle("acme/tiny", tmp_path / "one", variant="fp16", progress=False)
    arguments = ["--pretrained_model_name_or_path", "acme/tiny", "--output_path", str(tmp_path / "two")]
    assert main(["convert", *arguments, "--variant", "fp16", "--quiet"]) == 0
    converted = files_under(tmp_path / "one")
    assert converted == files_under(tmp_path / "two")
    names = ("model_index.json", "unet/config.json", "unet/model_state.pdparams", "scheduler/scheduler_config.json")
    assert set(converted) == set(names)
    assert ppdiffusers.DDPMPipeline.from_pretrained(tmp_path / "one")
