"""The memory benchmarks: at a sixteenth of its size, which loading a whole checkpoint would fail, and in small."""

from __future__ import annotations

import sys

import diffusers
import numpy as np
import paddle
import torch

from benchmarks import sdxl_memory
from benchmarks.convert_memory import measure
from ppdiffusers import UNet2DConditionModel


def test_component_is_converted_tensor_by_tensor(tmp_path):
    above = measure(tmp_path, width=80)
    size = (tmp_path / "source" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert size > 200e6
    assert all(0 < peak < 1000 / 16 for peak in above.values()), above  # megabytes


def test_benchmark_of_stable_diffusion_xl(tmp_path, capsys, monkeypatch):
    """The script runs with a small network, agrees with diffusers, and removes its files."""
    monkeypatch.setattr(sys, "argv", ["sdxl_memory.py", "--tiny", "--work_dir", str(tmp_path)])
    assert sdxl_memory.main() == 0
    printed = capsys.readouterr().out
    for part in ("conversion", "ppdiffusers, Paddle weights", "ppdiffusers, PyTorch weights", "diffusers", "one step"):
        assert part in printed
    assert not list(tmp_path.iterdir())


def test_full_size_of_the_benchmark():
    """The network of the published configuration in both libraries, counted without memory for it."""
    with paddle.LazyGuard():
        ours = UNet2DConditionModel(**sdxl_memory.FULL)
    with torch.device("meta"):
        theirs = diffusers.UNet2DConditionModel(**sdxl_memory.FULL)
    count = sum(int(np.prod(tensor.shape)) for tensor in ours.state_dict().values())
    assert count == theirs.num_parameters() > 2.5e9
