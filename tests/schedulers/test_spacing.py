"""Timestep spacing: n distinct timesteps in [0, T) for every n, equal to diffusers' where those are valid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers.core.errors import ConfigError, InputError
from ppdiffusers.schedulers.common.spacing import SPACINGS, spaced_solver_timesteps, spaced_timesteps
from tests.schedulers.parity import SHAPE, make, network
from tests.support.parity import noise

T = 1000
# Numbers of steps at which a floating-point range has one element too many, and those near T.
COUNTS = (1, 50, 61, 103, 122, 500, 998, 999, 1000)
SOLVERS = ("DPMSolverMultistep", "DEISMultistep", "UniPCMultistep", "SASolver", "DPMSolverMultistepInverse")
SCHEDULERS = (
    *("DDPM", "DDIM", "DDIMInverse", "PNDM", "LMSDiscrete", "EulerDiscrete", "EulerAncestralDiscrete", "HeunDiscrete"),
    *("KDPM2Discrete", "KDPM2AncestralDiscrete", "DPMSolverSDE", *SOLVERS),
)


def is_valid(timesteps: np.ndarray, count: int) -> bool:
    """Return whether there are `count` distinct timesteps in [0, T)."""
    return len(np.unique(timesteps)) == len(timesteps) == count and timesteps.min() >= 0 and timesteps.max() < T


@pytest.mark.parametrize("steps_offset", [0, 1, 7])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("rule", [spaced_timesteps, spaced_solver_timesteps])
def test_every_number_of_steps_gives_valid_timesteps(rule: Callable, spacing: str, steps_offset: int) -> None:
    for n in range(1, T + 1):
        timesteps = rule(spacing, T, n, steps_offset)
        assert is_valid(timesteps.round(), n), n
        assert (np.diff(timesteps) < 0).all(), n


def starts_of_steps(name: str, timesteps: np.ndarray) -> np.ndarray:
    """Return the timesteps of a run without the repeated ones and the midpoints."""
    if name == "PNDM":
        return np.delete(timesteps, 1)
    if name == "HeunDiscrete":
        return np.append(timesteps[0], timesteps[1::2])
    return timesteps[::2] if name.startswith("KDPM2") or name == "DPMSolverSDE" else timesteps


@pytest.mark.parametrize("steps_offset", [0, 1])
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_timesteps_of_schedulers(name: str, spacing: str, steps_offset: int) -> None:
    if name == "DDIMInverse" and spacing == "linspace":
        with pytest.raises(ConfigError, match="timestep_spacing"):
            ppdiffusers.DDIMInverseScheduler(timestep_spacing=spacing)
        return
    config = {"timestep_spacing": spacing, "steps_offset": steps_offset}
    if name == "PNDM":
        config["skip_prk_steps"] = True
    ours, theirs = make(f"{name}Scheduler", config)
    compared = 0
    for n in COUNTS:
        if name == "PNDM" and n == 1:
            continue
        ours.set_timesteps(n)
        theirs.set_timesteps(n)
        mine, reference = (starts_of_steps(name, np.asarray(s.timesteps)) for s in (ours, theirs))
        assert is_valid(mine, n), (n, mine)
        if is_valid(reference, n):
            np.testing.assert_allclose(mine, reference, rtol=1e-5, atol=1e-3, err_msg=f"{n} steps")
            compared += 1
    assert compared >= 4


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_run_over_every_training_timestep_is_finite(name: str, spacing: str) -> None:
    if name == "DDIMInverse" and spacing == "linspace":
        return
    config = {"timestep_spacing": spacing, "steps_offset": 1, "num_train_timesteps": 60, "beta_end": 0.2}
    if name == "PNDM":
        config["skip_prk_steps"] = True
    scheduler = getattr(ppdiffusers, f"{name}Scheduler")(**config)
    scheduler.set_timesteps(60)
    x = noise(SHAPE) * np.float32(scheduler.init_noise_sigma)
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(paddle.to_tensor(x), t).numpy()
        x = scheduler.step(paddle.to_tensor(network(scaled, float(t))), t, paddle.to_tensor(x)).prev_sample.numpy()
    assert np.isfinite(x).all()


def test_a_last_step_between_equal_noise_levels_is_finite() -> None:
    """The last timestep is 0 and the run ends at its noise level; the reference gives NaN."""
    config = {"solver_order": 3, "final_sigmas_type": "sigma_min", "num_train_timesteps": 60, "beta_end": 0.2}
    scheduler = ppdiffusers.DPMSolverMultistepScheduler(**config, timestep_spacing="trailing")
    scheduler.set_timesteps(60)
    x = noise(SHAPE)
    for t in scheduler.timesteps:
        x = scheduler.step(paddle.to_tensor(network(x, float(t))), t, paddle.to_tensor(x)).prev_sample.numpy()
    assert np.isfinite(x).all()


def test_more_steps_than_timesteps_above_lambda_min_raise() -> None:
    config = {"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}
    scheduler = ppdiffusers.DPMSolverMultistepScheduler(**config)
    with pytest.raises(InputError, match="lambda_min_clipped"):
        scheduler.set_timesteps(1000)
    scheduler.set_timesteps(900)
    assert len(scheduler.timesteps) == 900
