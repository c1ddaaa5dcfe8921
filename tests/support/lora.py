"""LoRA files for tiny Stable Diffusion checkpoints: made by PEFT, saved by diffusers, renamed for other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from tests.support.parity import rng_for

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
ALL_LAYERS = [*ATTENTION, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
CONVOLUTIONS = ["conv1", "conv_shortcut", "downsamplers.0.conv", "time_emb_proj"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj"]
MLP = ["fc1", "fc2"]


def peft_state(network: torch.nn.Module, targets: list[str], name: str, rank: int, **config: Any) -> dict:
    """PEFT's state dict of a random LoRA; the network is changed."""
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, **config), network)
    state = get_peft_model_state_dict(network)
    return {
        key: torch.from_numpy(rng_for(key + name).standard_normal(tuple(tensor.shape)).astype(np.float32) * 0.15)
        for key, tensor in state.items()
    }


def save_peft_lora(
    folder: Path,
    checkpoint: Path,
    name: str = "style",
    rank: int = 4,
    unet: list[str] | None = None,
    text_encoder: list[str] | None = None,
    safe_serialization: bool = True,
) -> Path:
    """Save a random LoRA with diffusers and return the file."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(checkpoint)
    states = {}
    if unet:
        states["unet_lora_layers"] = peft_state(pipeline.unet, unet, name, rank)
    if text_encoder:
        states["text_encoder_lora_layers"] = peft_state(pipeline.text_encoder, text_encoder, name, rank)
    pipeline.save_lora_weights(folder, **states, safe_serialization=safe_serialization)
    return folder / f"pytorch_lora_weights.{'safetensors' if safe_serialization else 'bin'}"


def renamed(source: Path, target: Path, rename: Any) -> Path:
    """Save the tensors of a file under other names: `rename(key)`."""
    save_file({rename(key): tensor for key, tensor in load_file(source).items()}, target)
    return target


def as_old_processors(key: str) -> str:
    """Names of diffusers 0.12 to 0.16."""
    for new, old in (("lora_A", "down"), ("lora_B", "up")):
        for layer in ("to_q", "to_k", "to_v", "to_out.0"):
            key = key.replace(f".{layer}.{new}.", f".processor.{layer.removesuffix('.0')}_lora.{old}.")
        for layer, query in (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v"), ("out_proj", "to_out")):
            key = key.replace(f".{layer}.{new}.", f".{query}_lora.{old}.")
    return key


def as_lora_linear_layer(key: str) -> str:
    """Names of diffusers 0.17 to 0.21."""
    if key.startswith("text_encoder"):
        return key.replace("lora_A", "lora_linear_layer.down").replace("lora_B", "lora_linear_layer.up")
    return key.replace("lora_A", "lora.down").replace("lora_B", "lora.up")


def as_kohya(source: Path, target: Path, alpha: float | None) -> Path:
    """Kohya's names, with an alpha for each layer unless it is None."""
    tensors = {}
    for key, tensor in load_file(source).items():
        component, path, part = key.split(".", 1)[0], *key.split(".", 1)[1].rsplit(".lora_", 1)
        stem = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[component] + path.replace(".", "_")
        tensors[f"{stem}.lora_{'down' if part.startswith('A') else 'up'}.weight"] = tensor
        if alpha is not None:
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    save_file(tensors, target)
    return target
