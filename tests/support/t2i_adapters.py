"""Tiny T2I-Adapters with random weights, and pipelines with them, saved by diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers

from tests.support.checkpoints import tiny_stable_diffusion_as
from tests.support.parity import randomize
from tests.support.stable_diffusion_xl import tiny_components

# for `tiny_unet` and `tiny_xl_unet` with `tiny_vae`, which halves height and width once
SD = {"channels": [32, 64], "num_res_blocks": 1, "downscale_factor": 2, "adapter_type": "full_adapter"}
XL = {"channels": [16, 32, 48, 48], "num_res_blocks": 1, "downscale_factor": 4, "adapter_type": "full_adapter_xl"}


def tiny_adapter(seed: int = 20, **settings: Any) -> diffusers.T2IAdapter:
    return randomize(diffusers.T2IAdapter(**{**SD, **settings}), seed)


def combined(adapters: list[diffusers.T2IAdapter]) -> diffusers.T2IAdapter | diffusers.MultiAdapter:
    return adapters[0] if len(adapters) == 1 else diffusers.MultiAdapter(adapters)


def tiny_adapter_pipeline(tmp_path: Path, *channels: int) -> Path:
    """Save a Stable Diffusion checkpoint with an adapter for each number of input channels; return its folder."""
    source = tiny_stable_diffusion_as(tmp_path, diffusers.StableDiffusionPipeline, safety_checker=True)
    adapters = [tiny_adapter(20 + n, in_channels=count) for n, count in enumerate(channels)]
    pipeline = diffusers.StableDiffusionAdapterPipeline.from_pretrained(source, adapter=combined(adapters))
    pipeline.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def tiny_xl_adapter_pipeline(tmp_path: Path, *channels: int) -> Path:
    """The same for Stable Diffusion XL."""
    adapters = [tiny_adapter(20 + n, in_channels=count, **XL) for n, count in enumerate(channels)]
    pipeline = diffusers.StableDiffusionXLAdapterPipeline(
        **tiny_components(tmp_path / "vocabulary"), adapter=combined(adapters)
    )
    pipeline.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"
