"""The recorded runs of the original GLIDE: random weights with its names, inputs, noise, outputs (tests/data)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

DATA = Path(__file__).parents[1] / "data" / "glide"
CONFIG = json.loads((DATA / "config.json").read_text(encoding="utf-8"))
SIZES = {"base": {"image_size": 16}, "upsample": {"image_size": 32}}
SETTINGS = {part: {**CONFIG[part], **SIZES[part]} for part in SIZES}
MERGES = DATA / "merges.txt"


def state_dict(name: str) -> dict[str, torch.Tensor]:
    """The tensors of "base", "upsample" or "inpaint" (the base model of inpainting)."""
    return {**load_file(DATA / f"{name}_0.safetensors"), **load_file(DATA / f"{name}_1.safetensors")}


def upsample_inpaint() -> dict[str, torch.Tensor]:
    """An upsampler of inpainting: that of "upsample", whose first convolution has 4 more channels."""
    tensors = state_dict("upsample")
    first = tensors["input_blocks.0.0.weight"]  # [C, 6, 3, 3]: noisy image, small image
    generator = torch.Generator().manual_seed(0)
    more = torch.randn([first.shape[0], 4, 3, 3], generator=generator) * first.std()
    tensors["input_blocks.0.0.weight"] = torch.cat([first[:, :3], more, first[:, 3:]], 1)
    return tensors


def checkpoint(folder: Path, inpaint: bool = False) -> Path:
    """Write the files of a published checkpoint to a new folder."""
    folder.mkdir(parents=True)
    if inpaint:
        torch.save(state_dict("inpaint"), folder / "base_inpaint.pt")
        torch.save(upsample_inpaint(), folder / "upsample_inpaint.pt")
    else:
        torch.save(state_dict("base"), folder / "base.pt")
        torch.save(state_dict("upsample"), folder / "upsample.pt")
    shutil.copy(MERGES, folder / "vocab.bpe")
    return folder


def recorded() -> dict[str, np.ndarray]:
    """The arrays of all runs."""
    with np.load(DATA / "ref.npz") as arrays:
        return dict(arrays)
