"""Recorded runs of the original Grad-TTS and HiFi-GAN: random weights with their names, inputs, noise, outputs.

In tests/data/grad_tts, `ref.npz`, `weights_*` and `vocoder` are one model of one speaker; `speakers.*` one of three
speakers, with two texts of different lengths; `frontend.json` has texts and their ids, `resblock2.npz` a generator
with the other residual block.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ppdiffusers import convert_original

DATA = Path(__file__).parents[1] / "data" / "grad_tts"
DICTIONARY = DATA / "cmu_dictionary"
CONFIG = json.loads((DATA / "config.json").read_text(encoding="utf-8"))
FRONTEND = json.loads((DATA / "frontend.json").read_text(encoding="utf-8"))
SETTINGS = ["beta_max=2.0"]  # both models differ from params.py in it
TEXT = "The cat sat on the mat."
TEXTS = ["Hello world", "The cat."]  # of the model of three speakers
SPEAKERS = [2, 0]


def state_dict() -> dict[str, torch.Tensor]:
    """The tensors of the model of one speaker."""
    return {name: t for n in range(3) for name, t in load_file(DATA / f"weights_{n}.safetensors").items()}


def speakers_state_dict() -> dict[str, torch.Tensor]:
    """The tensors of the model of three speakers."""
    return load_file(DATA / "speakers.safetensors")


def vocoder_state_dict() -> dict[str, torch.Tensor]:
    """The tensors of the generator of HiFi-GAN."""
    return load_file(DATA / "vocoder.safetensors")


@cache
def recorded(name: str = "ref") -> dict[str, np.ndarray]:
    """The arrays of a file of runs."""
    with np.load(DATA / f"{name}.npz") as arrays:
        return dict(arrays)


def convert(tensors: dict, family: str, folder: Path, **how: object) -> Path:
    """Save tensors as the original does, and convert them to `folder`/paddle."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, folder / "model.pt")
    convert_original(folder / "model.pt", folder / "paddle", family, progress=False, **how)
    return folder / "paddle"
