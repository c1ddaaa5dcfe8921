"""Compare the time of a 50-step run of every scheduler at 1x4x64x64 with diffusers, interleaved in one process.

    python benchmarks/schedulers.py [--repeats 7] [--steps 50]

The network is replaced by a constant output, so that only the scheduler is timed. Both libraries draw the noise of
`torch.Generator().manual_seed(0)`. Run it on an idle machine; it requires torch, diffusers, scipy and torchsde.
"""

from __future__ import annotations

import argparse
import inspect
import statistics
import time
import warnings
from collections.abc import Callable

import diffusers
import numpy as np
import paddle
import torch

import ppdiffusers

SHAPE = (1, 4, 64, 64)
CONFIGS = {"DPMSolverSDEScheduler": {"noise_sampler_seed": 1}, "PNDMScheduler": {"skip_prk_steps": True}}
NAMES = [
    "DDPM",
    "DDIM",
    "DDIMInverse",
    "PNDM",
    "LMSDiscrete",
    "EulerDiscrete",
    "EulerAncestralDiscrete",
    "HeunDiscrete",
    "KDPM2Discrete",
    "KDPM2AncestralDiscrete",
    "DPMSolverMultistep",
    "DPMSolverMultistepInverse",
    "DPMSolverSinglestep",
    "DPMSolverSDE",
    "DEISMultistep",
    "UniPCMultistep",
    "SASolver",
    "IPNDM",
    "LCM",
    "TCD",
    "EDMEuler",
    "EDMDPMSolverMultistep",
    "FlowMatchEulerDiscrete",
    "FlowMatchHeunDiscrete",
    "CMStochasticIterative",
    "UnCLIP",
    "KarrasVe",
    "ScoreSdeVe",
    "ScoreSdeVp",
    "RePaint",
    "VQDiffusion",
]


def run(scheduler: object, steps: int, tensor: Callable, generator: object) -> float:
    """Return the seconds of one run without `set_timesteps`."""
    name = type(scheduler).__name__
    scheduler.set_timesteps(min(steps, 40) if name.startswith("CM") else steps)
    if name == "ScoreSdeVeScheduler":
        scheduler.set_sigmas(steps)
    rng = np.random.default_rng(0)
    if name == "VQDiffusionScheduler":
        sample = tensor(rng.integers(0, 16, (1, 1024)))
        output = tensor(rng.standard_normal((1, 16, 1024)).astype(np.float32) - 3)
    else:
        sample, output = (tensor(rng.standard_normal(SHAPE).astype(np.float32)) for _ in range(2))
    mask = tensor(np.ones((1, 1, 64, 64), dtype=np.float32))
    scale = getattr(scheduler, "scale_model_input", None)
    times = scheduler.host_timesteps if hasattr(scheduler, "host_timesteps") else scheduler.timesteps
    step = getattr(scheduler, "step", None) or scheduler.step_pred
    noise = {"generator": generator} if "generator" in inspect.signature(step).parameters else {}
    began = time.perf_counter()
    for t in times:
        if name == "KarrasVeScheduler":
            hat, sigma = scheduler.add_noise_to_input(sample, scheduler.schedule[t], generator)
            sample = step(output, sigma, scheduler.schedule[t - 1], hat).prev_sample
        elif name == "ScoreSdeVeScheduler":
            sample = scheduler.step_correct(output, sample, **noise).prev_sample
            sample = step(output, t, sample, **noise).prev_sample
        elif name == "ScoreSdeVpScheduler":
            sample = step(output, sample, t, **noise)[0]
        elif name == "RePaintScheduler":
            sample = step(output, t, sample, sample, mask, **noise).prev_sample
        else:
            if scale is not None:
                scale(sample, t)
            sample = step(output, t, sample, **noise).prev_sample
    sample.numpy()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"{'scheduler':<28}{'ours, ms':>10}{'diffusers, ms':>15}{'speedup':>15}")
    ratios = []
    for short in NAMES:
        name = f"{short}Scheduler"
        config = {"num_vec_classes": 17} if short == "VQDiffusion" else CONFIGS.get(name, {})
        reference = getattr(diffusers, name, None) or getattr(diffusers.schedulers.deprecated, name)
        ours, theirs = getattr(ppdiffusers, name)(**config), reference(**config)
        mine, other = [], []
        for _ in range(arguments.repeats + 1):
            mine.append(run(ours, arguments.steps, paddle.to_tensor, ppdiffusers.TorchGenerator(0)))
            other.append(run(theirs, arguments.steps, torch.from_numpy, torch.Generator().manual_seed(0)))
        a, b = statistics.median(mine[1:]) * 1e3, statistics.median(other[1:]) * 1e3
        ratios.append(b / a)
        print(f"{short:<28}{a:>10.2f}{b:>15.2f}{b / a:>15.2f}", flush=True)
    print(f"\nmedian speedup over {len(ratios)} schedulers: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
