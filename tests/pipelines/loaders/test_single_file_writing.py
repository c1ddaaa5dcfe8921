"""Pipelines and folders as single files, and single files as folders, through diffusers."""

from __future__ import annotations

import json
import shutil

import diffusers
import numpy as np
import pytest
import safetensors
from safetensors.torch import load_file

import ppdiffusers
from ppdiffusers.cli.main import main
from ppdiffusers.convert.single_files.recognition import recognise
from ppdiffusers.core.errors import ConversionError, InputError
from ppdiffusers.io.single_file import open_single_file
from tests.pipelines.loaders.test_single_file import OFFLINE, assert_same_networks, assert_same_weights
from tests.support import originals
from tests.support.parity import randomize
from tests.support.single_files import (
    KINDS,
    averages_of,
    left_by_training,
    original_tensors,
    tiny_vae,
    write_single_file,
)

# Tensors of the original that no network has: OpenCLIP's temperature, and what Stable Diffusion 2 does not use.
NOT_WRITTEN = ("logit_scale", "transformer.resblocks.23.", "cond_stage_model.model.text_projection")


def assert_same_file(written, original, kind: str) -> None:
    """Names, shapes, dtypes and bits are equal."""
    found, expected = load_file(written), load_file(original)
    expected = {name: tensor for name, tensor in expected.items() if not any(part in name for part in NOT_WRITTEN)}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert np.array_equal(found[name].numpy(), tensor.numpy()), name


def load_and_save(kind: str, file, folder, again, **settings) -> None:
    """Load a pipeline, write it, and load what was written with diffusers: all tensors are equal."""
    pipeline = getattr(ppdiffusers, KINDS[kind].__name__).from_single_file(file, config=folder, **settings)
    pipeline.save_single_file(again)
    assert_same_networks(pipeline, KINDS[kind].from_single_file(str(again), config=str(folder), **OFFLINE))


@pytest.mark.parametrize("kind", KINDS)
def test_pipelines_become_the_file_that_they_came_from(kind, single_files, tmp_path):
    folder, file = single_files(kind)
    load_and_save(kind, file, folder, tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", file, kind)


def test_the_prediction_type_of_stable_diffusion_2(single_files, tmp_path):
    """The tensors do not show whether the UNet predicts noise: the metadata of the file do."""
    folder, file = single_files("sd2")
    for given, expected in (("epsilon", "epsilon"), ("v_prediction", "v_prediction")):
        copied = shutil.copytree(folder, tmp_path / given)
        config = json.loads((copied / "scheduler/scheduler_config.json").read_text())
        (copied / "scheduler/scheduler_config.json").write_text(json.dumps({**config, "prediction_type": given}))
        again = tmp_path / f"{given}.safetensors"
        load_and_save("sd2", file, copied, again)
        assert_same_file(again, file, "sd2")
        theirs = KINDS["sd2"].from_single_file(str(again), config=str(copied), **OFFLINE)
        assert theirs.scheduler.config.prediction_type == expected
        checkpoint = open_single_file(again)
        family = recognise(checkpoint, checkpoint.metadata)
        assert family.components["scheduler"][1]["prediction_type"] == expected


@pytest.mark.parametrize("extract_ema", [False, True])
def test_files_with_averages(extract_ema, single_files, tmp_path):
    """The weights that were loaded are written, under the names of trained weights."""
    folder, _ = single_files("sd1")
    tensors = original_tensors(folder, "sd1")
    file = write_single_file(tmp_path / "ema.safetensors", tensors | averages_of(tensors) | left_by_training())
    load_and_save("sd1", file, folder, tmp_path / "again.safetensors", extract_ema=extract_ema)
    start = "model.diffusion_model."
    expected = {name: tensor / (1 + (extract_ema and name.startswith(start))) for name, tensor in tensors.items()}
    assert_same_file(tmp_path / "again.safetensors", write_single_file(tmp_path / "x.safetensors", expected), "sd1")


def test_text_encoders_without_a_prefix(single_files, tmp_path):
    """The file that is written has the prefix, without which diffusers does not find the encoder."""
    folder, prefixed = single_files("sd1")
    prefix = "cond_stage_model.transformer."
    tensors = {name.replace(f"{prefix}text_model.", prefix): part for name, part in load_file(prefixed).items()}
    assert len([name for name in tensors if name.startswith(f"{prefix}embeddings.")]) == 2
    file = write_single_file(tmp_path / "old.ckpt", tensors)
    load_and_save("sd1", file, folder, tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", prefixed, "sd1")


@pytest.mark.parametrize("is_xl", [False, True])
def test_controlnets_both_ways(is_xl, single_files, tmp_path):
    folder, _ = single_files("sdxl" if is_xl else "sd1")
    unet = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet")
    network = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 6, 8, 10))
    randomize(network, 5).save_pretrained(tmp_path / "controlnet")
    tensors = network.state_dict()  # those of XL are published with the names of diffusers
    if not is_xl:
        tensors = originals.wrapped("control_model.", originals.controlnet(network))
    file = write_single_file(tmp_path / "controlnet.safetensors", tensors)
    source = ["convert", "--from", "single_file", "--pretrained_model_name_or_path", str(file), "--quiet"]
    config = ["--config", str(tmp_path / "controlnet")]
    assert main([*source, *config, "--output_path", str(tmp_path / "paddle")]) == 0
    back = ["convert", "--to", "single_file", "--pretrained_model_name_or_path", str(tmp_path / "paddle"), "--quiet"]
    assert main([*back, "--output_path", str(tmp_path / "again.safetensors")]) == 0
    assert_same_file(tmp_path / "again.safetensors", file, "controlnet")
    theirs = diffusers.ControlNetModel.from_single_file(
        str(tmp_path / "again.safetensors"), config=str(tmp_path / "controlnet"), **OFFLINE
    )
    assert_same_weights(ppdiffusers.ControlNetModel.from_pretrained(tmp_path / "paddle"), theirs)


def test_half_precision_is_kept(single_files, tmp_path):
    folder, _ = single_files("sd1")
    tensors = {name: tensor.half() for name, tensor in original_tensors(folder, "sd1").items()}
    file = write_single_file(tmp_path / "fp16.safetensors", tensors)
    pipeline = ppdiffusers.StableDiffusionPipeline.from_single_file(file, config=folder, paddle_dtype="auto")
    pipeline.save_single_file(tmp_path / "again.safetensors")
    assert_same_file(tmp_path / "again.safetensors", file, "sd1")
    with pytest.raises(InputError, match="safetensors"):
        pipeline.save_single_file(tmp_path / "again.ckpt")


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_command_line_both_ways(kind, single_files, tmp_path, capsys):
    """File -> folder of Paddle -> file, which diffusers loads; and file -> folder of diffusers."""
    folder, file = single_files(kind)
    source = ["--pretrained_model_name_or_path", str(file), "--output_path"]
    config = ["--config", str(folder), "--quiet"]
    assert main(["convert", "--from", "single_file", *source, str(tmp_path / "paddle"), *config]) == 0
    back = ["convert", "--to", "single_file", "--pretrained_model_name_or_path", str(tmp_path / "paddle")]
    assert main([*back, "--output_path", str(tmp_path / "again.safetensors"), "--quiet"]) == 0
    assert_same_file(tmp_path / "again.safetensors", file, kind)
    theirs = KINDS[kind].from_single_file(str(tmp_path / "again.safetensors"), config=str(folder), **OFFLINE)
    ours = getattr(ppdiffusers, KINDS[kind].__name__).from_pretrained(tmp_path / "paddle")
    assert_same_networks(ours, theirs)
    assert ours.scheduler.config.prediction_type == theirs.scheduler.config.prediction_type
    with safetensors.safe_open(tmp_path / "again.safetensors", "np") as opened:
        expected = "v" if theirs.scheduler.config.prediction_type == "v_prediction" else "epsilon"
        assert opened.metadata() == {"format": "pt", "modelspec.prediction_type": expected}
    assert main([*back, "--output_path", str(tmp_path / "again.safetensors"), "--quiet"]) == 1
    assert "exists" in capsys.readouterr().err
    to = ["convert", "--from", "single_file", "--to", "diffusers", *source, str(tmp_path / "torch")]
    assert main([*to, *config]) == 0
    loaded = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "torch", **OFFLINE)
    assert type(loaded) is KINDS[kind]
    assert_same_networks(ours, loaded)
    assert loaded.tokenizer("a red circle").input_ids == theirs.tokenizer("a red circle").input_ids


def test_one_network_both_ways(tmp_path):
    vae = tiny_vae("sd1")
    vae.save_pretrained(tmp_path / "vae")
    file = write_single_file(tmp_path / "vae.safetensors", originals.autoencoder(vae))
    ppdiffusers.convert_to_single_file(tmp_path / "vae", tmp_path / "again.safetensors", progress=False)
    assert_same_file(tmp_path / "again.safetensors", file, "vae")
    loaded = diffusers.AutoencoderKL.from_single_file(
        str(tmp_path / "again.safetensors"), config=str(tmp_path / "vae"), **OFFLINE
    )
    assert_same_weights(ppdiffusers.AutoencoderKL.from_pretrained(tmp_path / "vae"), loaded)


def test_what_cannot_be_written(single_files, tmp_path, capsys):
    folder, file = single_files("sd1")
    config = json.loads((folder / "unet" / "config.json").read_text())
    unet = diffusers.UNet2DConditionModel.from_config(
        {**config, "encoder_hid_dim": 6, "encoder_hid_dim_type": "text_proj"}
    )
    unet.save_pretrained(tmp_path / "unet")
    with pytest.raises(ConversionError, match="encoder_hid_proj"):
        ppdiffusers.convert_to_single_file(tmp_path / "unet", tmp_path / "unet.safetensors", progress=False)
    assert not (tmp_path / "unet.safetensors").exists()
    source = ["--pretrained_model_name_or_path", str(file), "--output_path", str(tmp_path / "x")]
    assert main(["convert", "--from", "single_file", *source, "--set", "a=1", "--no_ema"]) == 1
    error = capsys.readouterr().err
    assert "--set" in error
    assert "--no_ema" in error
