"""`ppdiffusers convert --from single_file`: what is converted, and which configurations are accepted."""

from __future__ import annotations

import json

import diffusers
import pytest
import yaml

import ppdiffusers
from ppdiffusers.cli.main import main
from ppdiffusers.convert.single_files.published import FAMILIES
from tests.pipelines.loaders.test_single_file import (
    OFFLINE,
    assert_same_weights,
    networks_of_original_config,
    original_config,
    served,
)
from tests.support import originals
from tests.support.single_files import tiny_vae, write_single_file


def convert(file, output, *more) -> int:
    arguments = ["--pretrained_model_name_or_path", str(file), "--output_path", str(output), "--quiet"]
    return main(["convert", "--from", "single_file", *arguments, *map(str, more)])


@pytest.mark.parametrize("to", ["paddle", "diffusers"])
def test_the_folder_of_one_network(to, single_files, tmp_path):
    """Of a whole checkpoint, that network is converted."""
    folder, file = single_files("sd1")
    for name, part in (("UNet2DConditionModel", "unet"), ("AutoencoderKL", "vae"), ("CLIPTextModel", "text_encoder")):
        assert convert(file, tmp_path / part, "--config", folder / part, "--to", to) == 0
        ours = getattr(ppdiffusers.transformers if part == "text_encoder" else ppdiffusers, name)
        theirs = getattr(diffusers.StableDiffusionPipeline.from_pretrained(folder), part)
        assert_same_weights(ours.from_pretrained(tmp_path / part), theirs)
        config = json.loads((tmp_path / part / "config.json").read_text())
        assert config.get("_class_name", name) == name
        assert not (tmp_path / part / "model_index.json").exists()
    if to == "diffusers":
        loaded = diffusers.AutoencoderKL.from_pretrained(tmp_path / "vae", **OFFLINE)
        assert_same_weights(ppdiffusers.AutoencoderKL.from_pretrained(folder / "vae"), loaded)


def test_files_with_one_network(single_files, tmp_path, capsys):
    """With the folder of their pipeline, or of the network; other networks of the pipeline are not missing."""
    folder, _ = single_files("sd1")
    vae = tiny_vae("sd1")
    file = write_single_file(tmp_path / "vae.safetensors", originals.autoencoder(vae))
    for config in (folder, folder / "vae"):
        assert convert(file, tmp_path / "vae", "--config", config, "--overwrite") == 0
        assert_same_weights(ppdiffusers.AutoencoderKL.from_pretrained(tmp_path / "vae"), vae)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    unet = originals.wrapped("model.diffusion_model.", originals.guided_diffusion(pipeline.unet))
    assert convert(write_single_file(tmp_path / "unet.ckpt", unet), tmp_path / "unet", "--config", folder) == 0
    assert_same_weights(ppdiffusers.UNet2DConditionModel.from_pretrained(tmp_path / "unet"), pipeline.unet)
    control = diffusers.ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=(4, 4, 8, 8))
    file = write_single_file(
        tmp_path / "control.pth", originals.wrapped("control_model.", originals.controlnet(control))
    )
    assert convert(file, tmp_path / "control", "--config", folder) == 1
    assert "the folder has no controlnet" in capsys.readouterr().err
    control.save_pretrained(tmp_path / "config")
    assert convert(file, tmp_path / "control", "--config", tmp_path / "config") == 0
    assert_same_weights(ppdiffusers.ControlNetModel.from_pretrained(tmp_path / "control"), control)


def test_folders_that_describe_nothing_in_the_file(single_files, tmp_path, capsys):
    folder, file = single_files("sd1")
    refused = {folder / "scheduler": "Single files do not have a PNDMScheduler", tmp_path: "neither a pipeline nor"}
    for config, message in refused.items():
        assert convert(file, tmp_path / "x", "--config", config) == 1
        assert message in capsys.readouterr().err
    xl, _ = single_files("sdxl")
    assert convert(file, tmp_path / "x", "--config", xl / "unet") == 1
    assert "missing: model.diffusion_model.label_emb" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", ["v1-inference.yaml", "model.config", "address"])
def test_original_configurations(kind, tmp_path, monkeypatch):
    """A YAML file of any name, as in diffusers, or its address."""
    unet = {k: v for k, v in networks_of_original_config().items() if k.startswith("model.diffusion_model.")}
    file = write_single_file(tmp_path / "unet.safetensors", unet)
    text = yaml.safe_dump(original_config())
    path = tmp_path / kind
    path.write_text(text)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PPDIFFUSERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with served({"/v1": text.encode()}) as address:
        config = f"{address}/v1?token=x" if kind == "address" else path
        assert convert(file, tmp_path / "unet", "--config", config) == 0
    theirs = diffusers.UNet2DConditionModel.from_single_file(str(file), original_config=original_config())
    assert_same_weights(ppdiffusers.UNet2DConditionModel.from_pretrained(tmp_path / "unet"), theirs)
    if kind != "address":
        for original in (diffusers.UNet2DConditionModel, ppdiffusers.UNet2DConditionModel):
            loaded = original.from_single_file(str(file), original_config=str(path))
            assert loaded.config.block_out_channels[-1] == 64


def test_the_unet_alone(single_files, tmp_path, monkeypatch):
    """Without --config: a folder of the UNet, and not of a pipeline."""
    folder, _ = single_files("sd1")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    tiny = FAMILIES["sd1"].with_settings("unet", **pipeline.unet.config)
    monkeypatch.setitem(FAMILIES, "sd1", tiny)
    unet = originals.wrapped("model.diffusion_model.", originals.guided_diffusion(pipeline.unet))
    assert convert(write_single_file(tmp_path / "unet.safetensors", unet), tmp_path / "unet") == 0
    assert not (tmp_path / "unet" / "model_index.json").exists()
    assert_same_weights(ppdiffusers.UNet2DConditionModel.from_pretrained(tmp_path / "unet"), pipeline.unet)
