"""The folders of a web UI with tiny files, and the published models in the sizes of these files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file, save_file

from tests.support import originals
from tests.support.checkpoints import scheduler_named, tiny_tokenizer
from tests.support.lora import ATTENTION, TEXT, as_kohya, save_peft_lora
from tests.support.originals import wrapped
from tests.support.parity import randomize
from tests.support.single_files import original_tensors, tiny_text_model, tiny_unet, tiny_vae, write_single_file

VOCABULARY = 49408  # of the tokenizer that ships with ppdiffusers
CONTROL_CHANNELS = (4, 4, 8, 8)

# Run at the start of every Python process: a file is recognised by its names, and its configuration is a tiny one.
_SITECUSTOMIZE = """
import json, pathlib
from ppdiffusers.convert.single_files.published import FAMILIES

for name, parts in json.loads(pathlib.Path(__file__).with_name("tiny.json").read_text()).items():
    for part, config in parts.items():
        FAMILIES[name] = FAMILIES[name].with_settings(part, **config)
"""


def write_webui(root: Path, work: Path) -> None:
    """Write the files that the page about the web UI names: `root/models/Stable-diffusion/dreamshaper_8...`."""
    folder = _checkpoint(work)
    original = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    write_single_file(root / "models/Stable-diffusion/dreamshaper_8.safetensors", original_tensors(folder, "sd1"))
    write_single_file(root / "models/VAE/vae-ft-mse-840000.safetensors", originals.autoencoder(original.vae))
    control = randomize(
        diffusers.ControlNetModel.from_unet(original.unet, conditioning_embedding_out_channels=CONTROL_CHANNELS)
    )
    names = wrapped("control_model.", originals.controlnet(control))
    write_single_file(root / "models/ControlNet/control_v11p_sd15_canny.pth", names)
    for name in ("style", "detail"):
        _lora(root / f"models/Lora/{name}.safetensors", work / name, folder)
    (root / "embeddings").mkdir()
    vectors = torch.randn(2, original.text_encoder.config.hidden_size, generator=torch.Generator().manual_seed(0))
    torch.save(
        {"string_to_param": {"*": vectors}, "name": "bad-hands-5", "step": 7}, root / "embeddings/bad-hands-5.pt"
    )


def write_tiny_models(folder: Path, work: Path) -> None:
    """Write a `sitecustomize` module into a folder; with the folder in PYTHONPATH single files may be tiny."""
    original = diffusers.StableDiffusionPipeline.from_pretrained(_checkpoint(work))
    unet, vae = original.unet.config, original.vae.config
    encoder = original.text_encoder.config.to_dict()
    blocks = ("block_out_channels", "norm_num_groups")
    of_unet = _some(unet, *blocks, "attention_head_dim", "cross_attention_dim")
    of_vae = _some(vae, *blocks)
    widths = ("hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads")
    tiny = {
        "sd1": {"unet": {**of_unet, "sample_size": 8}, "vae": of_vae, "text_encoder": _some(encoder, *widths)},
        "vae": {"vae": of_vae},
        "controlnet": {"controlnet": {**of_unet, "conditioning_embedding_out_channels": CONTROL_CHANNELS}},
    }
    (folder / "tiny.json").write_text(json.dumps(tiny), encoding="utf-8")
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE, encoding="utf-8")


def _some(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: config[name] for name in names}


def _checkpoint(work: Path) -> Path:
    """Save a tiny Stable Diffusion 1 with as many tokens as CLIP has, once."""
    folder = work / "sd1"
    if not folder.exists():
        diffusers.StableDiffusionPipeline(
            vae=tiny_vae("sd1"),
            unet=tiny_unet("sd1"),
            text_encoder=tiny_text_model(24, 3, "quick_gelu", VOCABULARY, 3),
            tokenizer=tiny_tokenizer(work / "tokenizer"),
            scheduler=scheduler_named("PNDMScheduler", "sd1"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
    return folder


def _lora(path: Path, work: Path, checkpoint: Path) -> None:
    """Write a file of Kohya's trainer with its metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    peft = save_peft_lora(work, checkpoint, path.stem, 4, ATTENTION, TEXT)
    tensors = load_file(as_kohya(peft, work / "kohya.safetensors", 2.0))
    tags = json.dumps({"10_style": {"ink wash": 20, "mountain": 4}})
    save_file(tensors, path, {"ss_output_name": path.stem, "ss_tag_frequency": tags, "ss_base_model_version": "sd_v1"})
