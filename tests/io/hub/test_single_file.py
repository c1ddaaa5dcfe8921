"""`from_single_file` with the address of a file, and with a configuration on a hub."""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest

import ppdiffusers
from ppdiffusers.cli.main import main
from ppdiffusers.core.errors import SourceError
from tests.pipelines.loaders.test_single_file import OFFLINE, assert_same_networks, assert_same_weights
from tests.support.single_files import KINDS, original_tensors, tiny_pipeline, write_single_file


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> tuple[Path, Path]:
    """Folder in diffusers' format, and another one with the single file."""
    root = tmp_path_factory.mktemp("published")
    folder = tiny_pipeline(root, "sd1")
    return folder, write_single_file(root / "mix" / "models" / "mix.safetensors", original_tensors(folder, "sd1"))


@pytest.fixture
def reference(published):
    folder, file = published
    return KINDS["sd1"].from_single_file(str(file), config=str(folder), **OFFLINE)


@pytest.mark.parametrize(
    ("source", "address"),
    [("hf", "{}/acme/mix/blob/main/models/mix.safetensors"), ("modelscope", "{}/acme/mix/models/mix.safetensors")],
)
def test_the_address_of_a_file(source, address, published, reference, hub_of):
    folder, file = published
    hub = hub_of(source, file.parents[1], "acme/mix")
    link = address.format(hub.address)
    load = ppdiffusers.StableDiffusionPipeline.from_single_file
    with pytest.raises(SourceError, match="local_files_only"):
        load(link, config=folder, local_files_only=True)
    assert hub.requests == []
    assert_same_networks(load(link, config=folder), reference)
    before = len(hub.requests)
    assert_same_networks(load(link, config=folder, local_files_only=True), reference)  # from the cache
    assert len(hub.requests) == before
    unet = ppdiffusers.UNet2DConditionModel.from_single_file(link, config=folder)
    assert_same_weights(unet, reference.unet)


def test_a_configuration_on_a_hub(published, reference, hub_of):
    """Only configurations and the tokenizer are downloaded: the weights are those of the file."""
    folder, file = published
    hub = hub_of("hf", folder)
    load = ppdiffusers.StableDiffusionPipeline.from_single_file
    with pytest.raises(SourceError, match="local_files_only"):
        load(file, config="acme/tiny", local_files_only=True)
    assert hub.requests == []
    ours = load(file, config="acme/tiny")
    assert_same_networks(ours, reference)
    assert ours.tokenizer("a red circle").input_ids == reference.tokenizer("a red circle").input_ids
    assert not [path for path in hub.fetched() if path.endswith((".safetensors", ".bin"))]
    before = len(hub.requests)
    assert_same_networks(load(file, config="acme/tiny", local_files_only=True), reference)
    assert len(hub.requests) == before


def test_the_configuration_of_a_network_on_a_hub(published, hub_of):
    folder, file = published
    hub = hub_of("hf", folder)
    settings = {"config": "acme/tiny", "subfolder": "vae"}
    ours = ppdiffusers.AutoencoderKL.from_single_file(file, **settings)
    theirs = diffusers.AutoencoderKL.from_single_file(str(file), config=str(folder), subfolder="vae", **OFFLINE)
    assert_same_weights(ours, theirs)
    assert {path.rpartition("/")[2] for path in hub.fetched()} == {"config.json"}
    again = ppdiffusers.AutoencoderKL.from_single_file(file, **settings, local_files_only=True)
    assert_same_weights(again, theirs)


def test_conversion_with_configurations_on_a_hub(published, reference, hub_of, tmp_path):
    folder, file = published
    hub = hub_of("hf", folder)
    hub.add("acme/unet", folder / "unet")
    for config, name in (("acme/tiny", "StableDiffusionPipeline"), ("acme/unet", "UNet2DConditionModel")):
        arguments = ["--pretrained_model_name_or_path", str(file), "--output_path", str(tmp_path / name)]
        assert main(["convert", "--from", "single_file", *arguments, "--config", config, "--quiet"]) == 0
    assert_same_networks(
        ppdiffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "StableDiffusionPipeline"), reference
    )
    assert_same_weights(
        ppdiffusers.UNet2DConditionModel.from_pretrained(tmp_path / "UNet2DConditionModel"), reference.unet
    )
