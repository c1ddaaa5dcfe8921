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
    """PEFT's state dict of a random LoRA; magnitudes are 0.5 to 2 times the norms. The network is changed."""
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, **config), network)
    state = get_peft_model_state_dict(network)
    random = {
        key: torch.from_numpy(rng_for(key + name).standard_normal(tuple(tensor.shape)).astype(np.float32))
        for key, tensor in state.items()
    }
    return {
        key: state[key] * 2 ** values.clip(-1, 1) if "magnitude" in key else values * 0.15
        for key, values in random.items()
    }


def save_peft_lora(
    folder: Path,
    checkpoint: Path,
    name: str = "style",
    rank: int = 4,
    unet: list[str] | None = None,
    text_encoder: list[str] | None = None,
    text_encoder_2: list[str] | None = None,
    safe_serialization: bool = True,
    **config: Any,
) -> Path:
    """Save a random LoRA with diffusers and return the file.

    Args:
        unet, text_encoder, text_encoder_2: the layers of each component.
        config: settings of PEFT.
    """
    pipeline = diffusers.DiffusionPipeline.from_pretrained(checkpoint)
    states: dict[str, Any] = {}
    targets = {"unet": unet, "text_encoder": text_encoder, "text_encoder_2": text_encoder_2}
    for component, some in targets.items():
        if some:
            states[f"{component}_lora_layers"] = peft_state(getattr(pipeline, component), some, name, rank, **config)
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


KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_"}
KOHYA_XL = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}


def as_kohya(
    source: Path, target: Path, alpha: float | None, prefixes: dict[str, str] = KOHYA, rename: Any = lambda path: path
) -> Path:
    """Kohya's names, with an alpha for each layer unless it is None.

    Args:
        rename: path of a layer of the UNet -> path in the file.
    """
    tensors = {}
    for key, tensor in load_file(source).items():
        component, path, part = key.split(".", 1)[0], *key.split(".", 1)[1].rsplit(".lora_", 1)
        stem = prefixes[component] + (rename(path) if component == "unet" else path).replace(".", "_")
        if part == "magnitude_vector":
            # [out] -> [out, 1], [1, out, 1, 1] -> [out, 1, 1, 1]
            tensors[f"{stem}.dora_scale"] = tensor[:, None] if tensor.ndim == 1 else tensor.transpose(0, 1).contiguous()
            continue
        tensors[f"{stem}.lora_{'down' if part.startswith('A') else 'up'}.weight"] = tensor
        if alpha is not None:
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    save_file(tensors, target)
    return target


def as_sgm(path: str) -> str:
    """Stability AI's name of a layer of `tiny_xl_unet`, which has one residual block in each block."""
    side, *numbers = path.split(".")
    inner = {"conv1": "in_layers.2", "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    inner |= {"time_emb_proj": "emb_layers.1"}
    if side == "mid_block":
        kind, number, *rest = numbers
        place = "1" if kind == "attentions" else {"0": "0", "1": "2"}[number]
        return ".".join(["middle_block", place, *(rest if kind == "attentions" else [inner[rest[0]]])])
    block, kind, number, *rest = numbers
    if kind == "downsamplers":
        return f"input_blocks.{2 * int(block) + 2}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{2 * int(block) + 1}.2.conv"
    start = (
        f"input_blocks.{2 * int(block) + 1}"
        if side == "down_blocks"
        else f"output_blocks.{2 * int(block) + int(number)}"
    )
    return ".".join([start, *(["1", *rest] if kind == "attentions" else ["0", inner[rest[0]]])])
