"""Which training timesteps a sampler visits.

Two rules exist: `visit_n` takes n points (DDIM, Euler, Heun, ...); `visit_n_plus_1` takes n + 1 and drops the clean
end (DPM-Solver++, UniPC, DEIS, SA-Solver), because those solvers step *to* the next point's noise level.
See Lin et al. 2023, https://arxiv.org/abs/2305.08891, table 2, for the three spacings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppdiffusers.core.errors import ConfigError, InputError

SPACINGS = ("linspace", "leading", "trailing")


def visit_n(spacing: str, num_train: int, num_steps: int, steps_offset: int = 0) -> np.ndarray:
    """n falling timesteps, float64 [n]; only "linspace" gives fractions, which the caller rounds or keeps."""
    if spacing == "linspace":
        return np.linspace(0, num_train - 1, num_steps)[::-1]
    if spacing == "leading":
        return (np.arange(num_steps) * (num_train // num_steps))[::-1].astype(np.float64) + steps_offset
    if spacing == "trailing":
        return np.round(np.arange(num_train, 0, -num_train / num_steps)) - 1
    raise _unknown(spacing)


def visit_n_plus_1(
    spacing: str, num_train: int, num_steps: int, steps_offset: int = 0, last: int | None = None
) -> np.ndarray:
    """n falling timesteps of n + 1, int64 [n]; `last` is how many training timesteps are in use (all by default)."""
    last = num_train if last is None else last
    if spacing == "linspace":
        return np.linspace(0, last - 1, num_steps + 1).round()[:0:-1].astype(np.int64)
    if spacing == "leading":
        return (np.arange(num_steps + 1) * (last // (num_steps + 1)))[:0:-1].astype(np.int64) + steps_offset
    if spacing == "trailing":
        return np.arange(last, 0, -num_train / num_steps).round().astype(np.int64) - 1
    raise _unknown(spacing)


def visit_training(num_train: int) -> np.ndarray:
    """Every training timestep, falling, int64."""
    return np.arange(num_train, dtype=np.int64)[::-1]


def check_num_steps(num_steps: object, num_train: int | None = None) -> int:
    """The number of inference steps as an integer.

    Raises:
        InputError: it is none, not positive, or more than the training timesteps where that is meaningless.
    """
    if num_steps is None or int(num_steps) != num_steps or num_steps < 1:
        raise InputError(
            "set_timesteps needs a number of inference steps.",
            where=f"num_inference_steps={num_steps!r}",
            expected="an integer of at least 1, as in scheduler.set_timesteps(50)",
        )
    if num_train is not None and num_steps > num_train:
        raise InputError(
            f"{num_steps} inference steps are more than the model's training timesteps.",
            where="num_inference_steps",
            expected=f"at most num_train_timesteps={num_train}",
        )
    return int(num_steps)


def check_exclusive(**given: object) -> None:
    """Raises:
    InputError: not exactly one of the arguments is given.
    """
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise InputError(
            "set_timesteps takes exactly one way to choose the steps.",
            problems=[f"given: {', '.join(names) or 'none'}"],
            expected=f"one of {', '.join(given)}",
        )


def check_descending(timesteps: Sequence[float], num_train: int) -> None:
    """Raises:
    InputError: explicit timesteps do not fall, or start beyond the training timesteps.
    """
    problems = []
    if len(timesteps) == 0:
        problems.append("there is none")
    elif timesteps[0] >= num_train:
        problems.append(f"the first, {timesteps[0]}, is not below num_train_timesteps={num_train}")
    if any(after >= before for before, after in zip(timesteps[:-1], timesteps[1:], strict=True)):
        problems.append("they must be in descending order")
    if problems:
        raise InputError("These timesteps cannot be visited.", where=f"timesteps={list(timesteps)}", problems=problems)


def _unknown(spacing: str) -> ConfigError:
    return ConfigError(
        f"There is no timestep_spacing {spacing!r}.", where="timestep_spacing", expected=", ".join(SPACINGS)
    )


def visit_distilled(
    num_train: int,
    origin: np.ndarray,
    num_steps: int | None,
    timesteps: Sequence[int] | None,
    strength: float,
    original_steps: int,
) -> np.ndarray:
    """Falling timesteps of a distilled model, int64: evenly out of those it was distilled on, or the given ones.

    Args:
        origin: the timesteps of distillation, rising, up to `strength` of the whole.
        original_steps: how many there are of the whole.
    """
    check_exclusive(num_inference_steps=num_steps, timesteps=timesteps)
    if original_steps > num_train:
        raise InputError(
            f"original_inference_steps={original_steps} is more than the training timesteps.",
            expected=f"at most num_train_timesteps={num_train}",
        )
    if timesteps is not None:
        check_descending(timesteps, num_train)
        kept = min(int(len(timesteps) * strength), len(timesteps))
        return np.asarray(timesteps, dtype=np.int64)[len(timesteps) - kept :]
    n = check_num_steps(num_steps, num_train)
    if n > len(origin) or n > original_steps:
        raise InputError(
            f"{n} inference steps are more than the {min(len(origin), original_steps)} of the distillation.",
            where="num_inference_steps",
            remedy="take fewer steps, or raise original_inference_steps or strength",
        )
    chosen = np.floor(np.linspace(0, len(origin), num=n, endpoint=False)).astype(np.int64)
    return origin[::-1][chosen].astype(np.int64)
