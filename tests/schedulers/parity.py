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
# Distances are relative to the largest value of the reference's result.
ONE_STEP = 1e-5  # both from the same sample
WHOLE_RUN = 2e-3  # each from its own last sample
# A float32 sample at noise level sigma holds its clean part to 6e-8 sigma; what both sides round differently there
# shows when the noise is gone (and the other way round where steps lead to the noise).
ROUNDING = 4e-7


def network(x: np.ndarray, t: float, channels: int = 1) -> np.ndarray:
    """A smooth stand-in for a network: a mixture of sines of the sample and the time, of unit size."""
    x = x.astype(np.float64)
    predicted = [
        np.sin(1.1 * x + 0.013 * t + k) * 0.8 + 0.2 * np.cos(0.5 * x - 0.002 * t * (k + 1)) for k in range(channels)
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


def run(
    scheduler: object, generator: object, tensor: Callable, channels: int, extra: dict, forced: list | None = None
) -> list[dict]:
    """What goes into and comes out of each step of a run, as arrays.

    With `forced`, the records of another run, each step starts from that run's sample and network output.
    """
    arguments = {key: value for key, value in extra.items() if takes(scheduler.step, key)}
    if takes(scheduler.step, "generator"):
        arguments["generator"] = generator
    sample = noise(SHAPE) * np.float32(float(getattr(scheduler, "init_noise_sigma", 1.0)))  # flows have none
    records = []
    for i, t in enumerate(scheduler.timesteps):
        if forced:
            sample = forced[i]["sample"]
        scale = getattr(scheduler, "scale_model_input", lambda x, _: x)
        model_input = np.asarray(scale(tensor(sample), t).numpy())
        output = forced[i]["output"] if forced else network(model_input, float(t), channels)
        result = scheduler.step(tensor(output), t, tensor(sample), **arguments)
        record = {"sample": sample, "model_input": model_input, "output": output}
        records.append({**record, **{key: np.asarray(value.numpy()) for key, value in result.items()}})
        sample = records[-1]["prev_sample"]
    return records


def assert_same_run(
    name: str,
    config: dict,
    num_steps: int | None,
    *,
    one_step: float = ONE_STEP,
    whole_run: float = WHOLE_RUN,
    channels: int = 1,
    set_timesteps: dict | None = None,
    **extra: object,
) -> None:
    """Both libraries' schedules and samples agree at every step; the message names the first that does not."""
    chosen = dict(set_timesteps or {})
    if num_steps is not None:
        chosen["num_inference_steps"] = num_steps
    ours, theirs = make(name, config)
    theirs.set_timesteps(**chosen)
    reference = run(theirs, torch.Generator().manual_seed(7), torch.from_numpy, channels, extra)
    for forced, tolerance in ((reference, one_step), (None, whole_run)):
        ours.set_timesteps(**chosen)
        what = f"{name}({config}).set_timesteps({chosen}), {'single steps' if forced else 'whole run'}"
        assert_same_schedule(ours, theirs, what)
        levels = noise_levels(ours)
        if not forced and levels.max() > 5000:
            continue  # the cosine schedule: after its first step, half the digits of a clean sample are rounding
        result = run(ours, TorchGenerator(7), paddle.to_tensor, channels, extra, forced)
        for i, (a, b) in enumerate(zip(result, reference, strict=True)):
            assert a.keys() == b.keys(), f"{what}: step {i} returns {list(a)}, reference {list(b)}"
            for key in b:
                assert np.isfinite(b[key]).all(), f"{what}: the reference's {key} is not finite at step {i}"
                distance = np.abs(a[key] - b[key]).max() / max(np.abs(b[key]).max(), 1e-3)
                allowed = tolerance + ROUNDING * (levels[max(i - 1, 0) : i + 1] if forced else levels).max()
                assert distance <= allowed, f"{what}: {key} of step {i} of {len(reference)} is off by {distance:.2e}"


def noise_levels(scheduler: object) -> np.ndarray:
    """How far noise and clean sample are apart at each step, at least 1."""
    n = len(scheduler.timesteps)
    if getattr(scheduler, "sigmas", None) is None:
        return np.ones(n)
    sigmas = np.asarray(scheduler.sigmas[:n], dtype=np.float64)
    if scheduler.config.get("use_flow_sigmas"):
        sigmas = sigmas / (1 - sigmas)
    return np.maximum(np.maximum(sigmas, 1 / np.maximum(sigmas, 1e-3)), 1)


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
    if hasattr(theirs, "init_noise_sigma"):
        np.testing.assert_allclose(float(ours.init_noise_sigma), float(theirs.init_noise_sigma), rtol=1e-5)
