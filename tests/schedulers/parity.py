"""Whole trajectories of a sampler, live against diffusers: same first sample, same network, same noise."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import json
import warnings
from collections.abc import Callable

import diffusers
import numpy as np
import paddle
import torch
from torch.overrides import TorchFunctionMode

import ppdiffusers
from ppdiffusers import TorchGenerator
from tests.support.parity import noise

SHAPE = (2, 3, 5, 7)  # [B, C, H, W]
STEPS = (1, 2, 5, 10, 25, 50)
ONE_STEP = 1e-5  # relative to the largest value of the reference's result
# Of a value in float32, relative: three units in the last place, about what one step's operations round away.
ROUNDING = 3.6e-7
# How many times further than the reference, rounded anew, ours may be from the reference.
SLACK = 10
SLACK_OF_A_STEP = 3


def network(x: np.ndarray, t: float, channels: int = 1) -> np.ndarray:
    """A smooth stand-in for a network, of unit size: sines of the sample and the time.

    Its slope in the sample is below 0.4: a steeper one makes a run chaotic, and then no two machines agree on it.
    """
    x = x.astype(np.float64)
    where = np.arange(x.size).reshape(x.shape)
    predicted = [
        0.25 * np.sin(1.1 * x + 0.013 * t + k)
        + 0.15 * np.cos(0.5 * x - 0.002 * t * (k + 1))
        + 0.6 * np.sin(0.013 * t + k + where)
        for k in range(channels)
    ]
    return np.concatenate(predicted, axis=1).astype(np.float32)


def rounded_anew(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The array as another order of the same float32 operations might have given it."""
    return x * (1 + ROUNDING * rng.choice([-1, 1], x.shape)).astype(np.float32)


def make(name: str, config: dict) -> tuple[object, object]:
    """The same scheduler of both libraries, fresh: the reference's constructors may take half a second."""
    return copy.deepcopy(_make(name, json.dumps(config)))


@functools.lru_cache(maxsize=2)
def _make(name: str, written: str) -> tuple[object, object]:
    config = json.loads(written)
    theirs = getattr(diffusers, name, None) or getattr(diffusers.schedulers.deprecated, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(ppdiffusers, name)(**config), theirs(**config)


def takes(method: Callable, argument: str) -> bool:
    return argument in inspect.signature(method).parameters


def run(
    scheduler: object,
    generator: object,
    tensor: Callable,
    channels: int,
    extra: dict,
    forced: list | None = None,
    jitter: np.random.Generator | None = None,
    precise: bool = False,
) -> list[dict]:
    """What goes into and comes out of each step of a run, as arrays.

    With `forced`, the records of another run, each step starts from that run's sample and network output. With
    `jitter`, noise levels are rounded anew, and samples and network outputs at each step. `precise` computes in
    float64.
    """
    arguments = {key: value for key, value in extra.items() if takes(scheduler.step, key)}
    if takes(scheduler.step, "generator"):
        arguments["generator"] = generator
    if jitter and getattr(scheduler, "sigmas", None) is not None:
        scheduler.sigmas = tensor(rounded_anew(np.asarray(scheduler.sigmas, dtype=np.float32), jitter))
    for levels in ("sigmas", "alphas_cumprod"):
        if precise and getattr(scheduler, levels, None) is not None:
            setattr(scheduler, levels, getattr(scheduler, levels).double())
    if hasattr(scheduler, "noise_sampler"):
        scheduler.noise_sampler = smooth_path(tensor)
    sample = noise(SHAPE) * np.float32(float(getattr(scheduler, "init_noise_sigma", 1.0)))  # flows have none
    records = []
    for i, t in enumerate(scheduler.timesteps):
        if forced:
            sample = forced[i]["sample"]
        if jitter:
            sample = rounded_anew(sample, jitter)
        if precise:
            sample = sample.astype(np.float64)
        scale = getattr(scheduler, "scale_model_input", lambda x, _: x)
        model_input = np.asarray(scale(tensor(sample), t).numpy())
        output = forced[i]["output"] if forced else network(model_input, float(t), channels)
        if jitter:
            output = rounded_anew(output, jitter)
        output = output.astype(sample.dtype)
        if takes(scheduler.step, "prev_timestep"):
            arguments["prev_timestep"] = int(scheduler.timesteps[i + 1]) if i + 1 < len(scheduler.timesteps) else None
        result = scheduler.step(tensor(output), t, tensor(sample), **arguments)
        record = {"sample": sample, "model_input": model_input, "output": output}
        records.append({**record, **{key: np.asarray(value.numpy()) for key, value in result.items()}})
        sample = records[-1]["prev_sample"]
    return records


class Precise(TorchFunctionMode):
    """What is float64 stays so, and its noise is that of a float32 computation."""

    def __torch_function__(
        self, function: Callable, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs = kwargs or {}
        if function is torch.randn and kwargs.get("dtype") == torch.float64:
            return function(*args, **{**kwargs, "dtype": torch.float32}).double()
        if function is torch.Tensor.to and args[1:] == (torch.float32,):
            return args[0]
        return function(*args, **kwargs)


def assert_same_run(
    name: str,
    config: dict,
    num_steps: int | None,
    *,
    channels: int = 1,
    set_timesteps: dict | None = None,
    **extra: object,
) -> None:
    """Both libraries' schedules and samples agree at every step; the message names the first that does not.

    Every step is compared from the same sample, then whole runs. Where a sampler itself makes rounding grow (noise of
    size 20000 that cancels, say), the reference rounded anew is off by as much: ours may be a few times that. Ours may
    also be off by more if it is as near to the reference computed in float64 as the reference in float32 is.
    """
    chosen = dict(set_timesteps or {})
    if num_steps is not None:
        chosen["num_inference_steps"] = num_steps

    def reference_run(**how: object) -> list[dict]:
        scheduler = make(name, config)[1]
        scheduler.set_timesteps(**chosen)
        with Precise() if how.get("precise") else contextlib.nullcontext():
            return run(scheduler, torch.Generator().manual_seed(7), torch.from_numpy, channels, extra, **how)

    ours, theirs = make(name, config)
    theirs.set_timesteps(**chosen)
    reference = reference_run()
    for forced in (reference, None):
        ours.set_timesteps(**chosen)
        what = f"{name}({config}).set_timesteps({chosen}), step({extra}), {'single steps' if forced else 'whole run'}"
        assert_same_schedule(ours, theirs, what)
        result = run(ours, TorchGenerator(7), paddle.to_tensor, channels, extra, forced)
        rounded = reference_run(forced=forced, jitter=np.random.default_rng(0))
        spread = largest = 0.0
        for i, (a, b, c) in enumerate(zip(result, reference, rounded, strict=True)):
            assert a.keys() == b.keys(), f"{what}: step {i} returns {list(a)}, reference {list(b)}"
            if forced:
                spread = largest = 0.0  # what earlier steps rounded away is not in this one
            largest = max(largest, np.abs(b["sample"]).max())
            for key in b:
                assert np.isfinite(b[key]).all(), f"{what}: the reference's {key} is not finite at step {i}"
                size = max(np.abs(b[key]).max(), 1e-3)
                spread = max(spread, np.abs(c[key] - b[key]).max() / size)
                if forced:
                    allowed = max(ONE_STEP, SLACK_OF_A_STEP * spread)
                else:
                    allowed = ONE_STEP + SLACK * spread + ROUNDING * largest / size
                distance = np.abs(a[key] - b[key]).max() / size
                if distance > allowed:
                    exact = reference_run(forced=forced, precise=True)[i][key]
                    allowed += np.abs(b[key] - exact).max() / size
                    distance = np.abs(a[key] - exact).max() / size
                assert distance <= allowed, (
                    f"{what}: {key} of step {i} of {len(reference)} is off by {distance:.2e}, allowed {allowed:.2e}"
                )


def smooth_path(tensor: Callable) -> Callable:
    """In place of a Brownian path, whose value jumps when a noise level is rounded otherwise: a smooth one."""

    def noise_between(sigma: float, sigma_next: float) -> object:
        phase = 3 * np.log(float(sigma)) + 5 * np.log(float(sigma_next))
        return tensor(np.sin(np.arange(np.prod(SHAPE)).reshape(SHAPE) + phase).astype(np.float32) * 1.4)

    return noise_between


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
