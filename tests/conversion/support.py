"""Read converted folders with torch, safetensors and paddle instead of our own readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import torch
from safetensors.torch import load_file


def torch_bits(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Return name -> (dtype, shape, bytes) of the PyTorch weights in a component's folder, shards merged."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))
    for path in sorted(folder.glob("*.bin")):
        tensors.update(torch.load(path, weights_only=True))
    return {name: (str(tensor.dtype), tuple(tensor.shape), bits(tensor)) for name, tensor in tensors.items()}


def bits(tensor: torch.Tensor) -> bytes:
    """Return the memory of the tensor."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def paddle_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return name -> array of `model_state.pdparams`, as Paddle reads it (bfloat16 as uint16 bits)."""
    return {name: tensor.numpy() for name, tensor in paddle.load(str(folder / "model_state.pdparams")).items()}


def configs(folder: Path) -> dict[str, dict]:
    """Return relative path -> content of every JSON file in a folder."""
    return {
        path.relative_to(folder).as_posix(): json.loads(path.read_text("utf-8"))
        for path in sorted(folder.rglob("*.json"))
    }


def components(folder: Path) -> list[str]:
    """Return the names of the folders that contain weights."""
    suffixes = (".safetensors", ".bin", ".pdparams")
    return sorted({path.parent.name for path in folder.rglob("*") if path.suffix in suffixes})
