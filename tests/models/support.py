"""Pairs of a PyTorch network and ours with the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import torch

import ppdiffusers
from tests.support.parity import randomize


def twins(tmp_path: Path, reference: torch.nn.Module, **kwargs: object) -> tuple:
    """Return (ours, reference): diffusers saves the reference with random weights, and ppdiffusers loads it."""
    randomize(reference)
    reference.save_pretrained(tmp_path)
    ours = getattr(ppdiffusers, type(reference).__name__).from_pretrained(tmp_path, **kwargs)
    return ours, reference


def both(array: np.ndarray) -> tuple[paddle.Tensor, torch.Tensor]:
    """Convert a numpy array to a tensor of each framework."""
    return paddle.to_tensor(array), torch.from_numpy(array)


def assert_same_keys(our_class: type, their_class: type, config: dict) -> None:
    """Assert that state dicts have the same keys and shapes; both networks are built without allocating weights."""
    with paddle.LazyGuard():
        ours = our_class.from_config(config)
    with torch.device("meta"):
        theirs = their_class.from_config(config)
    linear = {f"{name}.weight" for name, module in theirs.named_modules() if isinstance(module, torch.nn.Linear)}
    shapes = {
        key: tuple(value.shape)[::-1] if key in linear else tuple(value.shape)
        for key, value in theirs.state_dict().items()
    }
    assert {key: tuple(value.shape) for key, value in ours.state_dict().items()} == shapes
