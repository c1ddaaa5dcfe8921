"""Conversion to Paddle and back, which every pipeline family tests."""

from __future__ import annotations

from pathlib import Path

import ppdiffusers
from ppdiffusers import convert_diffusers_to_paddle, convert_paddle_to_diffusers
from ppdiffusers.conversion.verify import MODEL_TOLERANCE
from tests.conversion.support import components, torch_bits


def there_and_back(source: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Convert a PyTorch checkpoint to Paddle and back, with verification; returns both folders (Paddle, PyTorch)."""
    paddle_folder, torch_folder = tmp_path / "paddle", tmp_path / "torch"
    there = convert_diffusers_to_paddle(source, paddle_folder, verify=True, progress=False)
    back = convert_paddle_to_diffusers(paddle_folder, torch_folder, verify=True, progress=False)
    for report in (there, back):
        assert all(0 <= component.distance <= MODEL_TOLERANCE for component in report.components)
    assert components(source) == components(paddle_folder) == components(torch_folder)
    for name in components(source):
        assert torch_bits(source / name) == torch_bits(torch_folder / name), name
    return paddle_folder, torch_folder


def saved_both_ways(pipeline: ppdiffusers.DiffusionPipeline, tmp_path: Path) -> tuple[Path, Path]:
    """Save a pipeline in our format and for diffusers; returns both folders."""
    pipeline.save_pretrained(tmp_path / "saved")
    pipeline.save_pretrained(tmp_path / "saved-for-torch", to_diffusers=True)
    return tmp_path / "saved", tmp_path / "saved-for-torch"
