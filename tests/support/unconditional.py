"""Tiny PyTorch checkpoints of unconditional pipelines, saved by diffusers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

from tests.support.parity import randomize

SIDE = 16
PLAIN = {
    "sample_size": SIDE,
    "layers_per_block": 1,
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
}
NCSNPP = {
    "sample_size": SIDE,
    "layers_per_block": 1,
    "block_out_channels": (32, 64),
    "time_embedding_type": "fourier",
    "attention_head_dim": None,
    "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
    "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    "mid_block_scale_factor": 2**0.5,
    "norm_eps": 1e-6,
    "norm_num_groups": None,
}
SOUND = {
    "sample_size": 96,
    "sample_rate": 100,
    "extra_in_channels": 16,
    "block_out_channels": (32, 64, 64),
    "down_block_types": ("DownBlock1DNoSkip", "DownBlock1D", "AttnDownBlock1D"),
    "up_block_types": ("AttnUpBlock1D", "UpBlock1D", "UpBlock1DNoSkip"),
}


def tiny_vq(seed: int = 0) -> diffusers.VQModel:
    """Halves height and width; three channels, a codebook of 41 entries."""
    vq = diffusers.VQModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        num_vq_embeddings=41,
        scaling_factor=2.0,
        sample_size=2 * SIDE,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    return randomize(vq, seed)


def calmed(unet: torch.nn.Module) -> torch.nn.Module:
    """Scale the output by 0.2: trajectories of steeper networks are chaotic and depend on the machine."""
    last = unet.conv_out if hasattr(unet, "conv_out") else unet.up_blocks[-1].resnets[-1].conv_2
    with torch.no_grad():
        for parameter in last.parameters():
            parameter *= 0.2
    return unet


def tiny_unconditional(name: str, folder: Path, **settings: object) -> Path:
    """Save the pipeline `name` with random weights in `folder` and return the folder.

    Args:
        settings: of the UNet, changed.
    """
    kind = {"ScoreSdeVePipeline": NCSNPP, "DanceDiffusionPipeline": SOUND}.get(name, PLAIN)
    network = diffusers.UNet1DModel if name == "DanceDiffusionPipeline" else diffusers.UNet2DModel
    unet = calmed(randomize(network(**{**kind, **settings}), seed=1))
    components = {"unet": unet, "scheduler": _scheduler(name)}
    if name == "LDMPipeline":
        components["vqvae"] = tiny_vq()
    # the VP SDE uses DDPM checkpoints: diffusers has removed its pipeline
    pipeline = getattr(diffusers, "DDPMPipeline" if name == "ScoreSdeVpPipeline" else name)
    pipeline(**components).save_pretrained(folder)
    return folder


def every_sample(pipeline: Any) -> list:
    """Record what the scheduler of a pipeline returns from now on, in either framework."""
    samples, scheduler = [], pipeline.scheduler

    def noted(method: Callable) -> Callable:
        def call(*args: object, **kwargs: object) -> object:
            result = method(*args, **kwargs)
            samples.append(getattr(result, "prev_sample", result))
            return result

        return call

    for name in ("step", "step_pred", "step_correct", "undo_step"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, noted(getattr(scheduler, name)))
    return samples


def _scheduler(name: str) -> diffusers.SchedulerMixin:
    """Little noise: random networks do not remove it, and most values must stay between 0 and 1."""
    mild = {"beta_start": 0.0001, "beta_end": 0.001}
    return {
        "DDPMPipeline": lambda: diffusers.DDPMScheduler(**mild),
        "DDIMPipeline": lambda: diffusers.DDIMScheduler(**mild),
        "PNDMPipeline": lambda: diffusers.PNDMScheduler(**mild),
        "LDMPipeline": lambda: diffusers.DDIMScheduler(**mild, beta_schedule="scaled_linear", clip_sample=False),
        "ScoreSdeVePipeline": lambda: diffusers.ScoreSdeVeScheduler(sigma_max=0.6, snr=0.1),
        "ScoreSdeVpPipeline": lambda: diffusers.DDPMScheduler(**mild),
        "KarrasVePipeline": lambda: diffusers.KarrasVeScheduler(sigma_max=0.6),
        "RePaintPipeline": lambda: diffusers.RePaintScheduler(**mild),
        "DanceDiffusionPipeline": lambda: diffusers.IPNDMScheduler(),
    }[name]()
