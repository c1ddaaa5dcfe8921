"""The recorded runs of the original BDDM: random weights with its names, inputs, noise, outputs (tests/data)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

DATA = Path(__file__).parents[1] / "data" / "bddm"
CONFIG = json.loads((DATA / "config.json").read_text(encoding="utf-8"))
SETTINGS = {**CONFIG["score_net"], **CONFIG["schedule_net"], **CONFIG["diffusion"]}  # as in conf.yml


def state_dict(schedule: bool = True) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, with or without the schedule network."""
    found = load_file(DATA / "score_net.safetensors")
    if schedule:
        found |= {f"schedule_net.{name}": t for name, t in load_file(DATA / "schedule_net.safetensors").items()}
    return found


def recorded() -> dict[str, np.ndarray]:
    """The arrays of all runs."""
    with np.load(DATA / "ref.npz") as arrays:
        return dict(arrays)
