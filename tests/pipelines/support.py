"""Helpers of the pipeline tests: the same call of both libraries, and the tolerances of docs/design.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import paddle
import PIL.Image
import torch

import ppdiffusers
from ppdiffusers import TorchGenerator
from tests.support.round_trip import saved_both_ways, there_and_back

# name -> settings of Stable Diffusion checkpoints that this scheduler reads and the configuration of PNDM lacks
SCHEDULERS = {
    "DDPMScheduler": {"clip_sample": False},
    "DDIMScheduler": {"clip_sample": False},
    "PNDMScheduler": {},
    "LMSDiscreteScheduler": {},
    "EulerDiscreteScheduler": {},
    "EulerAncestralDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {},
    "UniPCMultistepScheduler": {},
}
PROMPTS = ["一个红色的圆形，白色背景", "an oil painting of two cats"]


def make_image(width: int, height: int, seed: int = 0) -> PIL.Image.Image:
    """An image of smooth colour patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return PIL.Image.fromarray(patches).resize((width, height), PIL.Image.Resampling.BICUBIC)


def box_mask(width: int, height: int, box: tuple[int, int, int, int]) -> PIL.Image.Image:
    """White inside of the box (x1, y1, x2, y2), black outside."""
    mask = PIL.Image.new("L", (width, height), 0)
    mask.paste(255, box)
    return mask


def load_both(folder: Path, **kwargs: Any) -> tuple[Any, Any]:
    """(ours, diffusers') pipelines loaded from one folder, without progress bars."""
    return load_classes(folder, ppdiffusers.DiffusionPipeline, diffusers.DiffusionPipeline, **kwargs)


def load_classes(folder: Path, mine: type, reference: type, **kwargs: Any) -> tuple[Any, Any]:
    """The same with given classes, whatever the folder names."""
    ours, theirs = mine.from_pretrained(folder, **kwargs), reference.from_pretrained(folder, **kwargs)
    for pipeline in (ours, theirs):
        pipeline.set_progress_bar_config(disable=True)
        pipeline.original_scheduler = getattr(pipeline, "scheduler", None)
    return ours, theirs


def set_schedulers(ours: Any, theirs: Any, name: str, **settings: Any) -> None:
    """Set the scheduler `name` in both pipelines, created from the configuration in their folder."""
    settings = {**SCHEDULERS[name], **settings}
    ours.scheduler = getattr(ppdiffusers, name).from_config(ours.original_scheduler.config, **settings)
    theirs.scheduler = getattr(diffusers, name).from_config(theirs.original_scheduler.config, **settings)


def generators(seed: int = 3, count: int | None = None) -> tuple[Any, Any]:
    """The same torch stream for both libraries: one generator, or `count` of them."""
    if count is None:
        return TorchGenerator(seed), torch.Generator().manual_seed(seed)
    pairs = [generators(seed + n) for n in range(count)]
    return [mine for mine, _ in pairs], [reference for _, reference in pairs]


def call_both(ours: Any, theirs: Any, seed: int | None = None, **kwargs: Any) -> tuple[Any, Any]:
    """Call both pipelines with the same arguments; arrays become tensors, and a seed becomes a generator."""
    mine = {k: paddle.to_tensor(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    reference = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    if seed is not None:
        mine["generator"], reference["generator"] = generators(seed)
    return ours(**mine), theirs(**reference)


def assert_images_agree(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 2e-3, different: float = 1e-3) -> None:
    """Arrays in [0, 1] agree within the tolerance; as 8-bit images no level differs by more than 1, 99.9 % are equal.

    The fraction of different levels is the one expected from the distances, not the one found: how many of a few
    thousand levels are close enough to a rounding boundary to differ is random, and depends on the machine.
    """
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05, "the reference image is almost constant"
    assert np.isfinite(theirs).all()
    distance = np.abs(ours - theirs)
    assert distance.max() <= tolerance
    assert np.minimum(distance * 255, 1).mean() <= different
    assert np.abs((ours * 255).round() - (theirs * 255).round()).max() <= 1


def assert_levels_agree(ours: np.ndarray, theirs: np.ndarray, different: float = 1e-3) -> None:
    """No 8-bit level differs by more than 1, and 99.9 % are equal; ten may differ in a small image, by rounding."""
    difference = np.abs(ours.astype(np.int32) - theirs.astype(np.int32))
    assert difference.max() <= 1
    assert (difference != 0).sum() <= max(different * difference.size, 10)


def fraction_of_different_levels(one: np.ndarray, other: np.ndarray) -> float:
    """Fraction of the 8-bit levels of two arrays in [0, 1] that differ."""
    return float(((one * 255).round() != (other * 255).round()).mean())


def assert_round_trip(folder: Path, tmp_path: Path, **call: Any) -> None:
    """Convert diffusers' folder to Paddle and back, and save it in both formats: `call` gives the same image with all.

    diffusers loads the folders written for it as the class that they name.
    """
    paddle_folder, torch_folder = there_and_back(folder, tmp_path)
    ours = ppdiffusers.DiffusionPipeline.from_pretrained(paddle_folder)
    saved, saved_for_torch = saved_both_ways(ours, tmp_path)
    again = ppdiffusers.DiffusionPipeline.from_pretrained(saved)
    assert type(again) is type(ours)
    for mine, back in ((ours, torch_folder), (again, saved_for_torch)):
        theirs = diffusers.DiffusionPipeline.from_pretrained(back)
        assert type(theirs).__name__ == type(ours).__name__
        for pipeline in (mine, theirs):
            pipeline.set_progress_bar_config(disable=True)
        results = call_both(mine, theirs, seed=3, output_type="np", **call)
        assert_images_agree(results[0].images, results[1].images)
