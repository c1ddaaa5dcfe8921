"""Whole trajectories of a sampler, live against diffusers: same first sample, same network, same noise."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable

import diffusers
import numpy as np
import paddle
import torch

import ppdiffusers
from ppdiffusers import TorchGenerator
from tests.support.parity import noise

SHAPE = (2, 3, 5, 7)  # [B, C, H, W]
STEPS = (1, 2, 5, 10, 25, 50)
TOLERANCE = 2e-5  # of the largest value of the reference's step


def network(x: np.ndarray, t: float, channels: int = 1) -> np.ndarray:
    """A smooth stand-in for a network: a mixture of sines of the sample and the time, of unit size."""
    x = x.astype(np.float64)
    predicted = [
        np.sin(1.1 * x + 0.013 * t + k) * 0.8 + 0.2 * np.cos(0.7 * x - 0.002 * t * (k + 1)) for k in range(channels)
    ]
    return np.concatenate(predicted, axis=1).astype(np.float32)


def make(name: str, config: dict) -> tuple[object, object]:
    """The same scheduler of both libraries."""
    theirs = getattr(diffusers, name, None) or getattr(diffusers.schedulers.deprecated, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(ppdiffusers, name)(**config), theirs(**config)


def takes(method: Callable, argument: str) -> bool:
    return argument in inspect.signature(method).parameters


def run(scheduler: object, generator: object, tensor: Callable, channels: int = 1, **extra: object) -> list[np.ndarray]:
    """All samples of a run, the first one included, as the scheduler's own library computes them."""
    step = scheduler.step
    arguments = {key: value for key, value in extra.items() if takes(step, key)}
    if takes(step, "generator"):
        arguments["generator"] = generator
    sample = tensor(noise(SHAPE) * np.float32(float(scheduler.init_noise_sigma)))
    samples = [sample]
    for t in scheduler.timesteps:
        model_input = scheduler.scale_model_input(sample, t)
        output = tensor(network(model_input.numpy(), float(t), channels))
        sample = step(output, t, sample, **arguments).prev_sample
        samples.append(sample)
    return [np.asarray(s.numpy()) for s in samples]


def assert_same_run(
    name: str,
    config: dict,
    num_steps: int | None,
    *,
    tolerance: float = TOLERANCE,
    channels: int = 1,
    set_timesteps: dict | None = None,
    **extra: object,
) -> None:
    """Both libraries' schedules and samples agree at every step; the message names the first that does not."""
    ours, theirs = make(name, config)
    for scheduler in (ours, theirs):
        chosen = dict(set_timesteps or {})
        if num_steps is not None:
            chosen["num_inference_steps"] = num_steps
        scheduler.set_timesteps(**chosen)
    what = f"{name}({config}), {num_steps} steps {set_timesteps or ''}"
    assert_same_schedule(ours, theirs, what)
    reference = run(theirs, torch.Generator().manual_seed(7), torch.from_numpy, channels, **extra)
    result = run(ours, TorchGenerator(7), paddle.to_tensor, channels, **extra)
    for i, (a, b) in enumerate(zip(result, reference, strict=True)):
        assert np.isfinite(b).all(), f"{what}: the reference is not finite after step {i} of {len(reference) - 1}"
        distance = np.abs(a - b).max() / max(np.abs(b).max(), 1e-3)
        assert distance <= tolerance, (
            f"{what}: step {i} of {len(reference) - 1} is off by {distance:.2e} of the largest"
        )


def assert_same_schedule(ours: object, theirs: object, what: str) -> None:
    """Integer timesteps are equal; real ones and sigmas are close."""
    a, b = ours.timesteps, theirs.timesteps.numpy()
    assert a.shape == b.shape, f"{what}: {a.shape} timesteps, reference {b.shape}"
    if b.dtype.kind == "i":
        assert a.dtype.kind == "i", f"{what}: timesteps are {a.dtype}"
        assert (a == b).all(), f"{what}: timesteps {a}, reference {b}"
    else:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4, err_msg=f"{what}: timesteps")
    if getattr(theirs, "sigmas", None) is not None and hasattr(ours, "sigmas"):
        np.testing.assert_allclose(ours.sigmas, theirs.sigmas.numpy(), rtol=1e-5, atol=1e-7, err_msg=f"{what}: sigmas")
    np.testing.assert_allclose(float(ours.init_noise_sigma), float(theirs.init_noise_sigma), rtol=1e-5)
