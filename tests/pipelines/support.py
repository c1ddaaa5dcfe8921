"""What the pipeline tests share: the same call on both sides, and the tolerances of docs/design.md."""

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

# name -> settings of the published SD folders that this scheduler reads and PNDM's configuration lacks
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


def picture(width: int, height: int, seed: int = 0) -> PIL.Image.Image:
    """A picture of soft colour patches."""
    patches = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return PIL.Image.fromarray(patches).resize((width, height), PIL.Image.Resampling.BICUBIC)


def box_mask(width: int, height: int, box: tuple[int, int, int, int]) -> PIL.Image.Image:
    """White inside the box (x1, y1, x2, y2), black around it."""
    mask = PIL.Image.new("L", (width, height), 0)
    mask.paste(255, box)
    return mask


def load_both(folder: Path, **kwargs: Any) -> tuple[Any, Any]:
    """(ours, diffusers') pipeline from one folder, without progress bars."""
    return load_classes(folder, ppdiffusers.DiffusionPipeline, diffusers.DiffusionPipeline, **kwargs)


def load_classes(folder: Path, mine: type, reference: type, **kwargs: Any) -> tuple[Any, Any]:
    """The same with classes that the folder need not name."""
    ours, theirs = mine.from_pretrained(folder, **kwargs), reference.from_pretrained(folder, **kwargs)
    for pipeline in (ours, theirs):
        pipeline.set_progress_bar_config(disable=True)
        pipeline.published = getattr(pipeline, "scheduler", None)
    return ours, theirs


def set_schedulers(ours: Any, theirs: Any, name: str, **settings: Any) -> None:
    """Give both pipelines the scheduler `name`, made from the folder's configuration whatever tests set before."""
    settings = {**SCHEDULERS[name], **settings}
    ours.scheduler = getattr(ppdiffusers, name).from_config(ours.published.config, **settings)
    theirs.scheduler = getattr(diffusers, name).from_config(theirs.published.config, **settings)


def generators(seed: int = 3, count: int | None = None) -> tuple[Any, Any]:
    """The same torch stream for both sides: one generator, or `count` of them."""
    if count is None:
        return TorchGenerator(seed), torch.Generator().manual_seed(seed)
    pairs = [generators(seed + n) for n in range(count)]
    return [mine for mine, _ in pairs], [reference for _, reference in pairs]


def call_both(ours: Any, theirs: Any, seed: int | None = None, **kwargs: Any) -> tuple[Any, Any]:
    """Call both pipelines with the same arguments: arrays become tensors of each side, a seed its generators."""
    mine = {k: paddle.to_tensor(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    reference = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in kwargs.items()}
    if seed is not None:
        mine["generator"], reference["generator"] = generators(seed)
    return ours(**mine), theirs(**reference)


def assert_pictures_agree(
    ours: np.ndarray, theirs: np.ndarray, tolerance: float = 2e-3, different: float = 1e-3
) -> None:
    """Arrays in [0, 1] within the tolerance; as 8-bit pictures no level off by more than 1, 99.9 % equal.

    The share of levels that differ is the one to be expected from the distances: how many of a few thousand levels lie
    next to the edge where rounding turns is a matter of luck, and of the machine.
    """
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05, "the reference is nearly one colour and shows nothing"
    assert np.isfinite(theirs).all()
    distance = np.abs(ours - theirs)
    assert distance.max() <= tolerance
    assert np.minimum(distance * 255, 1).mean() <= different
    assert np.abs((ours * 255).round() - (theirs * 255).round()).max() <= 1


def assert_levels_agree(ours: np.ndarray, theirs: np.ndarray, different: float = 1e-3) -> None:
    """8-bit levels: none off by more than 1, 99.9 % equal; in a small picture ten may lie next to rounding's edge."""
    difference = np.abs(ours.astype(np.int32) - theirs.astype(np.int32))
    assert difference.max() <= 1
    assert (difference != 0).sum() <= max(different * difference.size, 10)


def share_of_other_levels(one: np.ndarray, other: np.ndarray) -> float:
    """How many of the 8-bit levels of two arrays in [0, 1] differ."""
    return float(((one * 255).round() != (other * 255).round()).mean())


def assert_same_there_and_back(folder: Path, tmp_path: Path, **call: Any) -> None:
    """Convert diffusers' folder to Paddle and back, and save it both ways: `call` gives the same picture everywhere.

    diffusers loads what goes back as the class that the folder names.
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
        assert_pictures_agree(results[0].images, results[1].images)
