"""Shared code of parity tests: random weights for a PyTorch reference, and comparisons of outputs."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def rng_for(name: str, seed: int = 0) -> np.random.Generator:
    """A random generator that depends on a name: adding a parameter does not change the values of the others."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def randomize(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Randomize all parameters, including those initialized to zeros or ones; returns the module in eval mode.

    Matrices are scaled by their fan-in, so that activations neither vanish nor explode; norms stay near one.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            draw = rng_for(name, seed).standard_normal(tuple(parameter.shape)).astype(np.float32)
            if parameter.ndim >= 2:
                draw /= np.sqrt(max(1, np.prod(parameter.shape[1:])))
            elif name.endswith("weight"):
                draw = 1.0 + 0.3 * draw
            else:
                draw *= 0.3
            parameter.copy_(torch.from_numpy(draw).to(parameter.dtype))
    return module.eval()


def noise(shape: tuple[int, ...], name: str = "noise", seed: int = 0) -> np.ndarray:
    """Standard normal float32 values, as input of both frameworks."""
    return rng_for(name, seed).standard_normal(shape).astype(np.float32)


def to_numpy(value: object) -> np.ndarray:
    """Convert a torch tensor, a Paddle tensor or an array to a float32 (or integer) array."""
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return (value.float() if value.is_floating_point() else value).cpu().numpy()
    if hasattr(value, "is_floating_point") and hasattr(value, "numpy"):  # a Paddle tensor
        return (value.astype("float32") if value.is_floating_point() else value).numpy()
    return np.asarray(value)


def assert_close(ours: object, theirs: object, relative: float = 1e-4, what: str = "output") -> None:
    """Assert that the largest difference is at most `relative` times the largest absolute value of the reference."""
    ours, theirs = to_numpy(ours), to_numpy(theirs)
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, reference {theirs.shape}"
    assert np.isfinite(theirs).all(), f"{what}: the reference itself is not finite"
    assert np.abs(theirs).max() > 0, f"{what}: the reference is all zero and shows nothing"
    distance = np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max()
    assert distance <= relative, f"{what}: relative distance {distance:.3g} is above {relative:g}"
