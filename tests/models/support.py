"""A PyTorch network and ours with the same weights, through the files that diffusers writes."""

from __future__ import annotations

from pathlib import Path

import paddle
import torch

import ppdiffusers
from tests.support.parity import randomize


def twins(tmp_path: Path, reference: torch.nn.Module, **kwargs: object) -> tuple:
    """(ours, reference): the reference gets random weights, is saved by diffusers and loaded by us."""
    randomize(reference)
    reference.save_pretrained(tmp_path)
    ours = getattr(ppdiffusers, type(reference).__name__).from_pretrained(tmp_path, **kwargs)
    return ours, reference


def both(array) -> tuple[paddle.Tensor, torch.Tensor]:
    """One numpy array as a tensor of each framework."""
    return paddle.to_tensor(array), torch.from_numpy(array)
