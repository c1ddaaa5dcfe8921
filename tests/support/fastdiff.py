"""The recorded runs of the original FastDiff: random weights with its names, inputs, noise, outputs (tests/data)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

DATA = Path(__file__).parents[1] / "data" / "fastdiff"
CONFIG = json.loads((DATA / "config.json").read_text(encoding="utf-8"))
SETTINGS = {**CONFIG["fastdiff"], **CONFIG["diffusion"], "hop_size": CONFIG["hop_size"]}  # as in the YAML file


def state_dict() -> dict[str, torch.Tensor]:
    """The tensors of the original network."""
    return {**load_file(DATA / "first_block.safetensors"), **load_file(DATA / "rest.safetensors")}


def folded(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same network after `remove_weight_norm`."""
    weights = {name[: -len("_v")]: tensor for name, tensor in tensors.items() if name.endswith(".weight_v")}
    others = {name: tensor for name, tensor in tensors.items() if not name.endswith((".weight_v", ".weight_g"))}
    return {**others, **{name: torch._weight_norm(v, tensors[f"{name}_g"], 0) for name, v in weights.items()}}


def recorded() -> dict[str, np.ndarray]:
    """The arrays of all runs."""
    with np.load(DATA / "ref.npz") as arrays:
        return dict(arrays)
