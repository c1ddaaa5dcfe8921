"""Compare the trajectory of a scheduler with diffusers live: same initial sample, same network, same noise."""

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
ONE_STEP = 1e-5  # relative to the largest value of the reference
# Relative rounding error of a step: three units in the last place of float32.
ROUNDING = 3.6e-7
# The allowed difference in multiples of the difference that perturbing the reference by ROUNDING makes.
SLACK = 10
SLACK_OF_A_STEP = 3


def network(x: np.ndarray, t: float, channels: int = 1) -> np.ndarray:
    """Return a smooth function of the sample and the time in place of a network's output, of unit size.

    Its slope in the sample is below 0.4: a steeper one makes a run chaotic, and results depend on the machine.
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


def perturbed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Perturb an array as another order of the same float32 operations might."""
    return x * (1 + ROUNDING * rng.choice([-1, 1], x.shape)).astype(np.float32)


def make(name: str, config: dict) -> tuple[object, object]:
    """Return a new scheduler of both libraries, copied: the reference's constructors may take half a second."""
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
    """Run a scheduler and record the inputs and outputs of each step, as arrays.

    Args:
        forced: records of another run, whose samples and network outputs each step starts from.
        jitter: perturbs noise levels, and the samples and network outputs of each step.
        precise: compute in float64.
    """
    arguments = {key: value for key, value in extra.items() if takes(scheduler.step, key)}
    if takes(scheduler.step, "generator"):
        arguments["generator"] = generator
    if jitter and getattr(scheduler, "sigmas", None) is not None:
        scheduler.sigmas = tensor(perturbed(np.asarray(scheduler.sigmas.numpy(), dtype=np.float32), jitter))
    for levels in ("sigmas", "alphas_cumprod"):
        if precise and getattr(scheduler, levels, None) is not None:
            setattr(scheduler, levels, getattr(scheduler, levels).double())
    if hasattr(scheduler, "noise_sampler"):
        scheduler.noise_sampler = smooth_path(tensor)
    sample = noise(SHAPE) * np.float32(float(getattr(scheduler, "init_noise_sigma", 1.0)))  # flows do not have it
    records = []
    for i, t in enumerate(scheduler.timesteps):
        if forced:
            sample = forced[i]["sample"]
        if jitter:
            sample = perturbed(sample, jitter)
        if precise:
            sample = sample.astype(np.float64)
        scale = getattr(scheduler, "scale_model_input", lambda x, _: x)
        model_input = np.asarray(scale(tensor(sample), t).numpy())
        output = forced[i]["output"] if forced else network(model_input, float(t), channels)
        if jitter:
            output = perturbed(output, jitter)
        output = output.astype(sample.dtype)
        if takes(scheduler.step, "prev_timestep"):
            arguments["prev_timestep"] = int(scheduler.timesteps[i + 1]) if i + 1 < len(scheduler.timesteps) else None
        result = scheduler.step(tensor(output), t, tensor(sample), **arguments)
        record = {"sample": sample, "model_input": model_input, "output": output}
        records.append({**record, **{key: np.asarray(value.numpy()) for key, value in result.items()}})
        sample = records[-1]["prev_sample"]
    return records


class Precise(TorchFunctionMode):
    """Keep float64 tensors in float64, with the noise of a float32 computation."""

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
    """Assert that schedules and samples of both libraries agree at every step.

    Compares single steps from the same sample, then whole runs. Where a sampler amplifies rounding errors (noise of
    size 20000 that cancels, for example), the perturbed reference differs as much: the tolerance is a few times that
    difference. A larger difference is accepted if the result is as close to the reference in float64 as the reference
    in float32 is.
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
        jittered = reference_run(forced=forced, jitter=np.random.default_rng(0))
        spread = largest = 0.0
        for i, (a, b, c) in enumerate(zip(result, reference, jittered, strict=True)):
            assert a.keys() == b.keys(), f"{what}: step {i} returns {list(a)}, reference {list(b)}"
            if forced:
                spread = largest = 0.0  # rounding errors of earlier steps do not count
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
    """Return a smooth function in place of a Brownian path, which is sensitive to the rounding of noise levels."""

    def noise_between(sigma: float, sigma_next: float) -> object:
        phase = 3 * np.log(float(sigma)) + 5 * np.log(float(sigma_next))
        return tensor(np.sin(np.arange(np.prod(SHAPE)).reshape(SHAPE) + phase).astype(np.float32) * 1.4)

    return noise_between


def assert_same_schedule(ours: object, theirs: object, what: str) -> None:
    """Assert that integer timesteps are equal, and real-valued timesteps and sigmas close."""
    assert isinstance(ours.timesteps, paddle.Tensor)
    a, b = ours.timesteps.numpy(), theirs.timesteps.numpy()
    assert a.shape == b.shape, f"{what}: {a.shape} timesteps, reference {b.shape}"
    if b.dtype.kind == "i":
        assert a.dtype.kind == "i", f"{what}: timesteps are {a.dtype}"
        assert (a == b).all(), f"{what}: timesteps {a}, reference {b}"
    else:
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4, err_msg=f"{what}: timesteps")
    if getattr(theirs, "sigmas", None) is not None and hasattr(ours, "sigmas"):
        np.testing.assert_allclose(
            ours.sigmas.numpy(), theirs.sigmas.numpy(), rtol=1e-5, atol=1e-7, err_msg=f"{what}: sigmas"
        )
    if hasattr(theirs, "init_noise_sigma"):
        np.testing.assert_allclose(float(ours.init_noise_sigma), float(theirs.init_noise_sigma), rtol=1e-5)
