"""`from_single_file` against diffusers: every kind of file, every component, bit for bit."""

from __future__ import annotations

import http.server
import logging
import os
import threading
from contextlib import contextmanager

import diffusers
import numpy as np
import paddle
import pytest
import torch
import yaml

import ppdiffusers
from ppdiffusers.convert.apply import to_torch_layout
from ppdiffusers.core.errors import ConfigError, InputError, SourceError, UnsafeFileError, WeightsError
from ppdiffusers.io.pretrained import lazy_state_dict
from tests.pipelines.support import assert_images_agree, call_both
from tests.support import originals
from tests.support.checkpoints import tiny_controlnet
from tests.support.parity import randomize
from tests.support.single_files import (
    KINDS,
    averages_of,
    left_by_training,
    original_tensors,
    tiny_vae,
    write_single_file,
)

OFFLINE = {"local_files_only": True}


def load_both(kind: str, folder, file, **kwargs):
    theirs = KINDS[kind].from_single_file(str(file), config=str(folder), **OFFLINE, **kwargs)
    kwargs = {name: "float16" if value is torch.float16 else value for name, value in kwargs.items()}
    ours = getattr(ppdiffusers, KINDS[kind].__name__).from_single_file(file, config=folder, **OFFLINE, **kwargs)
    for pipeline in (ours, theirs):
        pipeline.set_progress_bar_config(disable=True)
    return ours, theirs


def assert_same_weights(ours, theirs) -> None:
    """All parameters of a network of ours are those of the reference, bit for bit."""
    found = to_torch_layout(lazy_state_dict(ours), ours)
    expected = {name: tensor for name, tensor in theirs.state_dict().items() if "position_ids" not in name}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert np.array_equal(found[name].read(), tensor.numpy()), name


def assert_same_networks(ours, theirs) -> None:
    networks = [name for name, part in theirs.components.items() if isinstance(part, torch.nn.Module)]
    assert len(networks) >= 3
    for name in networks:
        assert_same_weights(getattr(ours, name), getattr(theirs, name))
        assert not getattr(ours, name).training
    assert type(ours.scheduler).__name__ == type(theirs.scheduler).__name__


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind, single_files):
    ours, theirs = load_both(kind, *single_files(kind))
    assert_same_networks(ours, theirs)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_images(kind, single_files):
    ours, theirs = load_both(kind, *single_files(kind))
    call = {"prompt": "a red circle", "height": 64, "width": 96, "num_inference_steps": 2, "output_type": "np"}
    results = call_both(ours, theirs, seed=1, **call)
    assert_images_agree(results[0].images, results[1].images)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin"])
def test_pickles_and_what_training_leaves(suffix, single_files, tmp_path, caplog):
    folder, _ = single_files("sd1")
    tensors = original_tensors(folder, "sd1") | left_by_training()
    file = write_single_file(tmp_path / f"model{suffix}", tensors)
    with caplog.at_level(logging.INFO, "ppdiffusers"):
        ours, theirs = load_both("sd1", folder, file)
    assert_same_networks(ours, theirs)
    kinds = [line for line in caplog.messages if "Stable Diffusion 1" in line]
    unused = [line for line in caplog.messages if "not used" in line]
    assert len(kinds) == 1
    assert kinds[0].startswith(str(file))
    assert unused == [f"5 of {len(tensors)} tensors of the file are not used: " + unused[0].partition(": ")[2]]
    for name in ("betas", "alphas_cumprod", "model_ema", "first_stage_model"):
        assert name in unused[0]


def test_half_precision(single_files, tmp_path, half_kernels):
    folder, _ = single_files("sd1")
    tensors = {name: tensor.half() for name, tensor in original_tensors(folder, "sd1").items()}
    file = write_single_file(tmp_path / "model-fp16.safetensors", tensors)
    ours, theirs = load_both("sd1", folder, file)
    assert (ours.dtype, theirs.dtype) == (paddle.float32, torch.float32)
    assert_same_networks(ours, theirs)
    ours, theirs = load_both("sd1", folder, file, torch_dtype=torch.float16)
    assert (ours.dtype, theirs.dtype) == (paddle.float16, torch.float16)
    assert_same_networks(ours, theirs)
    kept = ppdiffusers.StableDiffusionPipeline.from_single_file(file, config=folder, paddle_dtype="auto")
    assert kept.dtype == paddle.float16


def test_averaged_weights(single_files, tmp_path, caplog):
    folder, _ = single_files("sd1")
    tensors = original_tensors(folder, "sd1")
    averages = averages_of(tensors)
    file = write_single_file(tmp_path / "model.safetensors", tensors | averages)
    settings = {"config": str(folder), "subfolder": "unet", **OFFLINE}
    for extract_ema in (False, True):
        caplog.clear()
        ours = ppdiffusers.UNet2DConditionModel.from_single_file(file, extract_ema=extract_ema, **settings)
        theirs = diffusers.UNet2DConditionModel.from_single_file(str(file), extract_ema=extract_ema, **settings)
        assert_same_weights(ours, theirs)
        assert any("EMA" in line for line in caplog.messages)
    some = next(name for name in averages if "input_blocks" in name)
    write_single_file(file, {name: tensor for name, tensor in (tensors | averages).items() if name != some})
    with pytest.raises(WeightsError, match=some.removeprefix("model_ema.")):
        ppdiffusers.UNet2DConditionModel.from_single_file(file, extract_ema=True, **settings)


def test_missing_tensors_are_listed_together(single_files, tmp_path):
    folder, _ = single_files("sd1")
    tensors = original_tensors(folder, "sd1")
    lost = [
        "model.diffusion_model.output_blocks.3.1.transformer_blocks.0.attn2.to_k.weight",
        "first_stage_model.encoder.mid.attn_1.q.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc1.bias",
    ]
    wrong = "model.diffusion_model.input_blocks.5.0.in_layers.2.weight"
    tensors[wrong] = tensors[wrong][:, :3]
    file = write_single_file(tmp_path / "cut.safetensors", {n: t for n, t in tensors.items() if n not in lost})
    with pytest.raises(WeightsError) as error:
        ppdiffusers.StableDiffusionPipeline.from_single_file(file, config=folder)
    for name in lost:
        assert f"missing: {name}" in str(error.value)
    assert f"shape: {wrong} is (8, 3, 3, 3), expected (8, 8, 3, 3)" in str(error.value)
    assert len(error.value.problems) == 4


def test_files_that_are_not_weights(tmp_path, single_files):
    folder, _ = single_files("sd1")
    load = ppdiffusers.StableDiffusionPipeline.from_single_file

    class Harmful:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'harmed'}",)

    torch.save({"state_dict": Harmful()}, tmp_path / "harmful.ckpt")
    with pytest.raises(UnsafeFileError):
        load(tmp_path / "harmful.ckpt", config=folder)
    assert not (tmp_path / "harmed").exists()
    with pytest.raises(SourceError, match="does not exist"):
        load(tmp_path / "absent.safetensors")
    with pytest.raises(SourceError, match="is a folder"):
        load(folder)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(WeightsError, match="safetensors"):
        load(tmp_path / "text.safetensors", config=folder)
    other = write_single_file(tmp_path / "other.safetensors", {"a.weight": torch.zeros(2)})
    with pytest.raises(ConfigError, match="unet: not in the file"):
        load(other, config=folder)
    with pytest.raises(WeightsError, match="unknown"):
        load(other)


# -- networks ---------------------------------------------------------------------------------------------------------


def test_networks_of_a_checkpoint(single_files):
    folder, file = single_files("sd2")
    for name, part in (("UNet2DConditionModel", "unet"), ("AutoencoderKL", "vae")):
        settings = {"config": str(folder), "subfolder": part, **OFFLINE}
        ours = getattr(ppdiffusers, name).from_single_file(file, **settings)
        theirs = getattr(diffusers, name).from_single_file(str(file), **settings)
        assert_same_weights(ours, theirs)
        loaded = getattr(ppdiffusers, name).from_single_file(file, config=folder)  # the folder of the pipeline
        assert_same_weights(loaded, theirs)


@pytest.mark.parametrize("axes", [4, 3, 2])
def test_autoencoder_files(axes, tmp_path):
    """Without a prefix, as sharing sites have them; projections of attention as convolutions or matrices."""
    vae = tiny_vae("sd1")
    vae.save_pretrained(tmp_path / "vae")
    tensors = originals.autoencoder(vae)
    for name in [name for name in tensors if ".attn_1." in name and tensors[name].ndim == 4]:
        tensors[name] = tensors[name].reshape(*tensors[name].shape[:2], *(1,) * (axes - 2))
    file = write_single_file(tmp_path / "vae.pt", tensors)
    ours = ppdiffusers.AutoencoderKL.from_single_file(file, config=str(tmp_path / "vae"))
    theirs = diffusers.AutoencoderKL.from_single_file(str(file), config=str(tmp_path / "vae"), **OFFLINE)
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("prefix", ["control_model.", ""])
def test_controlnet_files(prefix, tmp_path):
    levels = {"block_out_channels": (8, 8, 16, 16), "layers_per_block": 2, "norm_num_groups": 4}
    types = {"down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)}
    hints = {"conditioning_embedding_out_channels": (4, 6, 8, 10)}
    network = tiny_controlnet(cross_attention_dim=24, **levels, **types, **hints)
    network.save_pretrained(tmp_path / "controlnet")
    file = write_single_file(tmp_path / "control.pth", originals.wrapped(prefix, originals.controlnet(network)))
    ours = ppdiffusers.ControlNetModel.from_single_file(file, config=str(tmp_path / "controlnet"))
    theirs = diffusers.ControlNetModel.from_single_file(str(file), config=str(tmp_path / "controlnet"), **OFFLINE)
    assert_same_weights(ours, theirs)
    saved = tmp_path / "controlnet" / "diffusion_pytorch_model.safetensors"  # diffusers' own names
    assert_same_weights(ppdiffusers.ControlNetModel.from_single_file(saved, config=tmp_path / "controlnet"), network)


def test_dictionary_of_tensors(tmp_path):
    vae = tiny_vae("sd1")
    vae.save_pretrained(tmp_path)
    arrays = {name: tensor.detach().numpy() for name, tensor in originals.autoencoder(vae).items()}
    assert_same_weights(ppdiffusers.AutoencoderKL.from_single_file(arrays, config=str(tmp_path)), vae)


# -- original configurations, overrides, legacy arguments -----------------------------------------------------------


def original_config(**unet) -> dict:
    settings = {
        **{"in_channels": 4, "out_channels": 4, "model_channels": 32, "attention_resolutions": [4, 2, 1]},
        **{"num_res_blocks": 2, "channel_mult": [1, 1, 2, 2], "num_heads": 4, "transformer_depth": 1},
        **{"context_dim": 24, "use_spatial_transformer": True, "legacy": False},
    }
    first_stage = {"double_z": True, "z_channels": 4, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": [1, 2]}
    ddconfig = {"params": {"ddconfig": {**first_stage, "num_res_blocks": 1, "attn_resolutions": []}}}
    params = {"linear_start": 0.001, "linear_end": 0.01, "timesteps": 500, "scale_factor": 0.2}
    return {
        "model": {"params": {**params, "unet_config": {"params": {**settings, **unet}}, "first_stage_config": ddconfig}}
    }


def networks_of_original_config(**settings) -> dict:
    """Tensors of a UNet and of an autoencoder that the YAML file describes."""
    defaults = {"block_out_channels": (32, 32, 64, 64), "cross_attention_dim": 24, "attention_head_dim": 4}
    unet = randomize(diffusers.UNet2DConditionModel(**{**defaults, **settings}), 3)
    vae = randomize(
        diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(32, 64),
            layers_per_block=1,
        ),
        4,
    )
    tensors = originals.wrapped("model.diffusion_model.", originals.guided_diffusion(unet))
    return tensors | originals.wrapped("first_stage_model.", originals.autoencoder(vae))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "use_linear_in_transformer": True,
            "num_heads": None,
            "num_head_channels": 16,
            "transformer_depth": [1, 1, 2, 1],
        },
        {"num_classes": 1000, "in_channels": 7, "disable_self_attentions": [True, True, True, False]},
        {"num_classes": "sequential", "adm_in_channels": 48, "context_dim": [24, 24, 24, 24]},
    ],
)
def test_original_config(changes, tmp_path):
    config = original_config(**changes)
    unet_params = config["model"]["params"]["unet_config"]["params"]
    if unet_params["num_heads"] is None:
        del unet_params["num_heads"]
    settings = {
        "sample_size": 64,
        "in_channels": changes.get("in_channels", 4),
        "block_out_channels": (32, 32, 64, 64),
        "cross_attention_dim": 24,
        "attention_head_dim": [2, 2, 4, 4] if "num_head_channels" in changes else 4,
        "transformer_layers_per_block": changes.get("transformer_depth", 1),
        "use_linear_projection": "num_head_channels" in changes,
        "num_class_embeds": 1000 if changes.get("num_classes") == 1000 else None,
        "only_cross_attention": changes.get("disable_self_attentions", False),
    }
    if "adm_in_channels" in changes:
        settings |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 48}
    tensors = networks_of_original_config(**settings)
    file = write_single_file(tmp_path / "model.safetensors", tensors)
    for name in ("UNet2DConditionModel", "AutoencoderKL"):
        ours = getattr(ppdiffusers, name).from_single_file(file, original_config=config)
        theirs = getattr(diffusers, name).from_single_file(str(file), original_config=config)
        assert_same_weights(ours, theirs)
        ignored = ("sample_size", "_")
        for key, value in theirs.config.items():
            if not key.startswith(ignored):
                mine = ours.config[key]
                assert (list(mine) if isinstance(mine, (list, tuple)) else mine) == (
                    list(value) if isinstance(value, (list, tuple)) else value
                ), key


@contextmanager
def served(files: dict[str, bytes]):
    """Serve files on the loopback interface; yield the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = files[self.path.partition("?")[0]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("kind", ["path", "address", "content"])
def test_original_config_with_config(kind, single_files, tmp_path, monkeypatch):
    """UNet and autoencoder come from the YAML file, the rest from `config`, as in diffusers."""
    folder, _ = single_files("sd1")  # its UNet and autoencoder are smaller than those of the YAML file
    tensors = {name: part for name, part in original_tensors(folder, "sd1").items() if name.startswith("cond_stage")}
    file = write_single_file(tmp_path / "model.safetensors", tensors | networks_of_original_config())
    path = tmp_path / "v1.yaml"
    path.write_text(yaml.safe_dump(original_config()))
    load = ppdiffusers.StableDiffusionPipeline.from_single_file
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PPDIFFUSERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    theirs = KINDS["sd1"].from_single_file(str(file), config=str(folder), original_config=str(path), **OFFLINE)
    with served({"/v1.yaml": path.read_bytes()}) as address:
        remote = f"{address}/v1.yaml?raw=true"
        given = {"path": str(path), "address": remote, "content": original_config()}[kind]
        ours = load(file, config=folder, original_config=given)
        if kind == "address":
            with pytest.raises(SourceError, match="local_files_only"):
                load(file, config=folder, original_config=given, local_files_only=True)
    assert_same_networks(ours, theirs)
    assert ours.vae.config.scaling_factor == theirs.vae.config.scaling_factor == 0.2
    assert ours.scheduler.config.beta_end == theirs.scheduler.config.beta_end  # of the folder
    with served({"/page": b"<!DOCTYPE html>"}) as address, pytest.raises(ConfigError, match="raw address"):
        load(file, original_config=f"{address}/page")


def test_components_replace_those_of_the_file(single_files):
    folder, file = single_files("sd1")
    given = {
        "vae": ppdiffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae"),
        "scheduler": ppdiffusers.DDIMScheduler(num_train_timesteps=50),
    }
    pipeline = ppdiffusers.StableDiffusionPipeline.from_single_file(file, config=folder, **given)
    for name, part in given.items():
        assert getattr(pipeline, name) is part


def test_published_parts_need_no_folder(single_files):
    """Tokenizer, scheduler and settings of Stable Diffusion 1 ship with ppdiffusers."""
    folder, file = single_files("sd1")
    loaded = ppdiffusers.StableDiffusionPipeline.from_pretrained(folder)
    networks = {name: getattr(loaded, name) for name in ("unet", "vae", "text_encoder")}
    pipeline = ppdiffusers.StableDiffusionPipeline.from_single_file(file, **networks, **OFFLINE)
    assert pipeline.tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert type(pipeline.scheduler).__name__ == "PNDMScheduler"
    assert pipeline.scheduler.config.beta_end == 0.012
    assert pipeline.safety_checker is None


def test_legacy_arguments(single_files):
    folder, file = single_files("sd2")
    load = ppdiffusers.StableDiffusionPipeline.from_single_file
    with pytest.warns(FutureWarning, match="scheduler_type"):
        pipeline = load(file, config=folder, scheduler_type="ddim")
    assert type(pipeline.scheduler).__name__ == "DDIMScheduler"
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    with pytest.warns(FutureWarning, match="prediction_type"):
        pipeline = load(file, config=folder, prediction_type="epsilon")
    assert (type(pipeline.scheduler).__name__, pipeline.scheduler.config.prediction_type) == (
        "PNDMScheduler",
        "epsilon",
    )
    with pytest.raises(InputError, match="scheduler_type='magic'.*\n.*|nothing=1") as error:
        load(file, config=folder, scheduler_type="magic", nothing=1)
    assert len(error.value.problems) == 2


def test_another_pipeline(single_files):
    _, file = single_files("sdxl")
    with pytest.raises(InputError, match=r"StableDiffusionXLPipeline\.from_single_file"):
        ppdiffusers.StableDiffusionPipeline.from_single_file(file)
