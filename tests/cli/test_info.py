"""`ppdiffusers info`: what files are, without reading their weights, and hostile files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ppdiffusers.cli.main import main
from ppdiffusers.conversion.describe import describe_file
from ppdiffusers.models.adapters.ip_adapter import has_ip_adapters
from tests.support.checkpoints import tiny_stable_diffusion, tiny_unet
from tests.support.ip_adapter import FOLDER, save_ip_adapters

CONTEXT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
KOHYA = f"lora_unet_{CONTEXT.replace('.', '_')}"
UNET = "model.diffusion_model."


def write(path, shapes, metadata=None, dtype=torch.float32):
    tensors = {name: torch.ones(shape, dtype=dtype) for name, shape in shapes.items()}
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata)
    else:
        torch.save(tensors, path)
    return path


def checkpoint(width: int, **more) -> dict:
    keys = {f"{UNET}input_blocks.0.0.weight": (32, 4, 3, 3), "first_stage_model.encoder.conv_in.weight": (4, 3, 3, 3)}
    return keys | {f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (32, width), **more}


def test_checkpoint(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_LANG", "en")
    tokens = {"conditioner.embedders.1.model.token_embedding.weight": (9, 4)}
    metadata = {"modelspec.title": "My mix\x1b[31m", "modelspec.author": "someone"}
    path = write(tmp_path / "mix.safetensors", checkpoint(2048, **tokens), metadata, torch.float16)
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    rows = dict(line.split("  ", 1) for line in out.split("\n\n")[0].splitlines())
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows["kind"] == "checkpoint"
    assert rows["base model"] == "Stable Diffusion XL"
    assert rows["dtype"] == "float16"
    assert rows["contains"] == "UNet, VAE, second text encoder"
    assert (rows["title"], rows["author"]) == ("My mix [31m", "someone")
    assert f"StableDiffusionXLPipeline.from_single_file('{path}')" in out
    monkeypatch.setenv("PPDIFFUSERS_LANG", "zh")
    assert main(["info", str(path)]) == 0
    assert "基础模型" in capsys.readouterr().out


KEY = f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
OPEN_CLIP = {"cond_stage_model.model.token_embedding.weight": (9, 4)}
CLIP = {"cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (9, 4)}


@pytest.mark.parametrize(
    ("width", "more", "base", "pipeline", "parts"),
    [
        (1024, OPEN_CLIP, "Stable Diffusion 2", "StableDiffusionPipeline", "UNet, VAE, text encoder"),
        (
            1280,
            {"conditioner.embedders.0.model.token_embedding.weight": (9, 4), f"{UNET}label_emb.0.0.weight": (8, 2560)},
            "Stable Diffusion XL refiner",
            "StableDiffusionXLImg2ImgPipeline",
            "UNet, VAE, second text encoder",
        ),
        (
            1024,
            {**OPEN_CLIP, f"{UNET}label_emb.weight": (1000, 8), f"{UNET}input_blocks.0.0.weight": (32, 7, 3, 3)},
            "Stable Diffusion x4 upscaler",
            "StableDiffusionUpscalePipeline",
            "UNet, VAE, text encoder",
        ),
        (
            768,
            {**CLIP, f"{UNET}input_blocks.0.0.weight": (32, 8, 3, 3)},
            "InstructPix2Pix",
            "StableDiffusionInstructPix2PixPipeline",
            "UNet, VAE, text encoder",
        ),
    ],
)
def test_checkpoints_of_other_models(width, more, base, pipeline, parts, tmp_path):
    path = write(tmp_path / "model.safetensors", {**checkpoint(width), **more}, dtype=torch.float16)
    found = describe_file(path)
    assert (found.kind, found.base_model, found.dtypes) == ("checkpoint", base, ("float16",))
    assert found.details == {"contains": parts}
    assert found.code.endswith(f"model = {pipeline}.from_single_file({str(path)!r})")


@pytest.mark.parametrize(
    "names",
    [
        {"input_hint_block.0.weight": (16, 3, 3, 3), KEY.removeprefix(UNET): (640, 2048)},
        {
            "controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3),
            "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 2048),
        },
    ],
)
def test_controlnets_of_stable_diffusion_xl(names, tmp_path):
    """Of the original repository, and of diffusers, whose names most of them have."""
    found = describe_file(write(tmp_path / "canny-xl.safetensors", names))
    assert (found.kind, found.base_model) == ("ControlNet", "ControlNet of Stable Diffusion XL")
    assert "ControlNetModel.from_single_file(" in found.code


def test_lora_as_json(tmp_path, capsys):
    shapes = {f"{KOHYA}.lora_down.weight": (4, 768), f"{KOHYA}.lora_up.weight": (320, 4), f"{KOHYA}.alpha": ()}
    tags = {"10_cat": {"my cat": 20, "sitting": 3}, "5_more": {"my cat": 5, "outdoors": 4}}
    metadata = {"ss_output_name": "cat", "ss_tag_frequency": json.dumps(tags), "ss_steps": "1500"}
    path = write(tmp_path / "cat.safetensors", shapes, metadata)
    assert main(["info", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["base_model"]) == ("LoRA", "Stable Diffusion 1")
    assert found["trigger_words"] == ["my cat", "outdoors", "sitting"]
    assert found["metadata"] == {"title": "cat", "steps": "1500"}
    assert (found["details"]["rank"], found["details"]["alpha"], found["details"]["format"]) == ("4", "1", "Kohya")
    assert found["parameters"] == 4 * 768 + 320 * 4 + 1
    assert f"load_lora_weights('{path}')" in found["code"]


@pytest.mark.parametrize(
    ("name", "shapes", "kind", "base"),
    [
        ("vae.pt", {"encoder.conv_in.weight": (8, 3, 3, 3)}, "VAE", "autoencoder of Stable Diffusion"),
        ("canny.pth", {"control_model.input_blocks.0.0.weight": (8, 4, 3, 3)}, "ControlNet", "Stable Diffusion 1"),
        ("unet.safetensors", {f"{UNET}input_blocks.0.0.weight": (8, 9, 3, 3)}, "UNet", "Stable Diffusion 1 inpainting"),
        ("style.bin", {"<style>": (768,)}, "textual inversion", "Stable Diffusion 1"),
        ("xl.safetensors", {"clip_l": (2, 768), "clip_g": (2, 1280)}, "textual inversion", "Stable Diffusion XL"),
        (
            "adapter.safetensors",
            {"image_proj.proj.weight": (3072, 1024), "ip_adapter.1.to_k_ip.weight": (320, 768)},
            "IP-Adapter",
            "Stable Diffusion 1",
        ),
        ("other.safetensors", {"a.b": (3, 3, 3)}, "unknown", None),
    ],
)
def test_kinds(name, shapes, kind, base, tmp_path):
    found = describe_file(write(tmp_path / name, shapes))
    assert found.kind == kind
    assert base is None if found.base_model is None else base in found.base_model
    assert (found.code == "") is (kind == "unknown")


def test_the_code_for_an_ip_adapter(tmp_path):
    """It loads the adapter with the image encoder that it was trained with."""
    save_ip_adapters(tmp_path, tiny_unet())
    folder = tiny_stable_diffusion(tmp_path, safety_checker=False)
    names = {"CHECKPOINT": folder, "IMAGE_ENCODER": tmp_path / FOLDER / "image_encoder"}
    for kind in ("base.safetensors", "plus.safetensors", "full.bin", "face_id.safetensors", "face_id_plus.bin"):
        found = describe_file(tmp_path / FOLDER / kind)
        assert "StableDiffusionPipeline.from_single_file(CHECKPOINT" in found.code
        exec(found.code.replace("from_single_file", "from_pretrained"), names)
        assert has_ip_adapters(names["pipe"].unet), kind
        assert (names["pipe"].image_encoder is None) == (kind == "face_id.safetensors")


def test_ip_adapters_of_stable_diffusion_xl(tmp_path, capsys):
    shapes = {
        "image_proj.latents": (1, 16, 1280),
        "image_proj.proj_in.weight": (8, 1280),
        "ip_adapter.1.to_k_ip.weight": (64, 2048),
    }
    path = write(tmp_path / "ip-adapter-plus_sdxl_vit-h.safetensors", shapes)
    assert main(["info", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["base_model"]) == ("IP-Adapter", "Stable Diffusion XL")
    assert found["details"] == {"variant": "Plus", "image encoder": "CLIP ViT-H"}
    lines = found["code"].splitlines()
    assert lines[0] == "from ppdiffusers import StableDiffusionXLPipeline"
    assert "from_pretrained('h94/IP-Adapter', subfolder='models/image_encoder')" in found["code"]
    assert lines[-2] == "pipe = StableDiffusionXLPipeline.from_single_file(CHECKPOINT, image_encoder=image_encoder)"
    assert lines[-1].startswith(f"pipe.load_ip_adapter('{tmp_path}', subfolder=None, weight_name='ip-adapter-plus")


def test_embedding_of_the_web_ui(tmp_path):
    torch.save({"string_to_param": {"*": torch.ones(3, 768)}, "name": "mine", "step": 5}, tmp_path / "mine.pt")
    found = describe_file(tmp_path / "mine.pt")
    assert (found.kind, found.trigger_words, found.details) == (
        "textual inversion",
        ("mine",),
        {"vectors": 3, "width": 768},
    )


def test_folders(capsys):
    assert main(["info", "examples/assets/shapes-bilingual", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["base_model"]) == ("pipeline folder", "StableDiffusionPipeline")
    assert found["details"]["unet"] == "UNet2DConditionModel"
    assert describe_file("examples/assets/shapes-bilingual/unet").kind == "component folder"


def test_hostile_files_are_errors_and_not_tracebacks(tmp_path, capsys):
    class Harmful:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'harmed'}",)

    torch.save({"weights": Harmful()}, tmp_path / "harmful.ckpt")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "huge.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
    (tmp_path / "page.ckpt").write_text("<!DOCTYPE html><html>")
    (tmp_path / "noise.pt").write_bytes(np.random.default_rng(0).bytes(1000))
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    (tmp_path / "folder").mkdir()
    for name in ("harmful.ckpt", "empty.safetensors", "huge.safetensors", "page.ckpt", "noise.pt", "image.png"):
        assert main(["info", str(tmp_path / name)]) == 1, name
        assert capsys.readouterr().err.startswith("error: "), name
    for name in ("folder", "absent.safetensors"):
        assert main(["info", str(tmp_path / name)]) == 1
        assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "harmed").exists()
    nested = "[" * 100_000
    shapes = {f"{KOHYA}.lora_down.weight": (4, 768), f"{KOHYA}.lora_up.weight": (320, 4)}
    path = write(tmp_path / "deep.safetensors", shapes, {"ss_tag_frequency": nested, "modelspec.title": "x" * 10**5})
    found = describe_file(path)
    assert found.trigger_words == ()
    assert len(found.metadata["title"]) < 300
    write(path, shapes, {"ss_tag_frequency": '{"a": {"b": "c", "d": 1}, "e": 3}'})
    assert describe_file(path).trigger_words == ("d",)
