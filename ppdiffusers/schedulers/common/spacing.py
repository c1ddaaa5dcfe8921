"""Timestep spacing: which training timesteps a sampler evaluates.

Two rules exist. `spaced_timesteps` takes n points (DDIM, Euler, Heun, ...). `spaced_solver_timesteps` takes n + 1 and
drops the clean end (DPM-Solver++, UniPC, DEIS, SA-Solver), because these solvers step *to* the noise level of the next
point. See Lin et al. 2023, https://arxiv.org/abs/2305.08891, table 2, for the three spacings.

The timesteps are distinct and in [0, T), also where floating-point errors or `steps_offset` break that in diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppdiffusers.core.errors import ConfigError, InputError

SPACINGS = ("linspace", "leading", "trailing")


def spaced_timesteps(spacing: str, num_train: int, num_steps: int, steps_offset: int = 0) -> np.ndarray:
    """Compute n decreasing timesteps, float64 [n]; only "linspace" gives fractions, which the caller may round."""
    if spacing == "linspace":
        return np.linspace(0, num_train - 1, num_steps)[::-1]
    if spacing == "leading":
        return leading_timesteps(np.arange(num_steps) * (num_train // num_steps), steps_offset, num_train).astype(
            np.float64
        )
    if spacing == "trailing":
        return trailing_timesteps(num_train, num_train / num_steps)[:num_steps].astype(np.float64)
    raise _unknown_spacing(spacing)


def spaced_solver_timesteps(
    spacing: str, num_train: int, num_steps: int, steps_offset: int = 0, last: int | None = None
) -> np.ndarray:
    """Compute n decreasing timesteps out of n + 1, int64 [n].

    Args:
        spacing: one of `SPACINGS`.
        num_train: T.
        num_steps: n.
        steps_offset: added to the timesteps of the spacing "leading".
        last: the number of training timesteps in use; all by default. If it is lower, "trailing" gives fewer than n.

    Raises:
        InputError: fewer than n training timesteps are in use.
    """
    last = num_train if last is None else last
    if spacing not in SPACINGS:
        raise _unknown_spacing(spacing)
    if spacing == "trailing":
        return trailing_timesteps(last, num_train / num_steps)[:num_steps]
    if num_steps > last:
        raise InputError(
            f"{num_steps} inference steps are more than the {last} training timesteps above `lambda_min_clipped`.",
            where="num_inference_steps",
            remedy="use fewer steps, or a lower lambda_min_clipped",
        )
    if num_steps == last:  # every timestep is used: there is no clean end to drop
        return training_timesteps(last)
    if spacing == "linspace":
        return np.linspace(0, last - 1, num_steps + 1).round()[:0:-1].astype(np.int64)
    return leading_timesteps(np.arange(1, num_steps + 1) * (last // (num_steps + 1)), steps_offset, num_train)


def trailing_timesteps(last: int, stride: float) -> np.ndarray:
    """Compute the decreasing timesteps round(last - k * stride) - 1 for k = 0, 1, ... that are not negative, int64."""
    steps = np.arange(last, 0, -stride).round().astype(np.int64) - 1
    return steps[steps >= 0]  # rounding errors may add an element at the end of the range


def leading_timesteps(steps: np.ndarray, steps_offset: int, num_train: int) -> np.ndarray:
    """Reverse increasing timesteps and add the offset, at most as much as keeps them below T.

    Raises:
        ConfigError: there is no offset.
    """
    if steps_offset is None:
        raise ConfigError("steps_offset is None.", expected="an integer; 0 adds nothing")
    return steps[::-1] + min(steps_offset, num_train - 1 - int(steps[-1]))


def training_timesteps(num_train: int) -> np.ndarray:
    """Return every training timestep in decreasing order, int64 [T]."""
    return np.arange(num_train, dtype=np.int64)[::-1]


def distilled_timesteps(
    num_train: int,
    origin: np.ndarray,
    num_steps: int | None,
    timesteps: Sequence[int] | None,
    strength: float,
    original_steps: int,
) -> np.ndarray:
    """Compute decreasing timesteps of a distilled model, int64 [n].

    Args:
        num_train: T.
        origin: the timesteps of the distillation up to `strength`, increasing.
        num_steps: n, to select evenly spaced elements of `origin`.
        timesteps: custom timesteps, in place of `num_steps`.
        strength: the share of the schedule to run, 0 to 1.
        original_steps: the number of distillation timesteps at strength 1.
    """
    check_exclusive(num_inference_steps=num_steps, timesteps=timesteps)
    if original_steps > num_train:
        raise InputError(
            f"original_inference_steps={original_steps} is larger than the number of training timesteps.",
            expected=f"at most num_train_timesteps={num_train}",
        )
    if timesteps is not None:
        check_descending(timesteps, num_train)
        kept = min(int(len(timesteps) * strength), len(timesteps))
        return np.asarray(timesteps, dtype=np.int64)[len(timesteps) - kept :]
    n = check_num_steps(num_steps, num_train)
    if n > len(origin) or n > original_steps:
        raise InputError(
            f"{n} inference steps are more than the {min(len(origin), original_steps)} steps of the distillation.",
            where="num_inference_steps",
            remedy="use fewer steps, or increase original_inference_steps or strength",
        )
    chosen = np.floor(np.linspace(0, len(origin), num=n, endpoint=False)).astype(np.int64)
    return origin[::-1][chosen].astype(np.int64)


def following_timestep(timesteps: np.ndarray, timestep: float) -> int:
    """Return the timestep after `timestep` in a run; -1, the clean sample, after the last one.

    Raises:
        InputError: the run does not contain it.
    """
    found = np.nonzero(timesteps == timestep)[0]
    if len(found) == 0:
        raise InputError(
            f"The timestep {timestep} is not in the schedule.",
            expected="an element of scheduler.timesteps",
            remedy="iterate over scheduler.timesteps after scheduler.set_timesteps(...)",
        )
    after = found[0] + 1
    return int(timesteps[after]) if after < len(timesteps) else -1


def check_num_steps(num_steps: float | None, num_train: int | None = None) -> int:
    """Check the number of inference steps and return it as an integer.

    Args:
        num_steps: the number of inference steps.
        num_train: the largest valid number, if there is one.

    Raises:
        InputError: the number is missing, not a positive integer, or larger than `num_train`.
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
    """Check that exactly one of the arguments is not None.

    Raises:
        InputError: none or several are given.
    """
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise InputError(
            f"set_timesteps takes exactly one of {', '.join(given)}.",
            problems=[f"given: {', '.join(names) or 'none'}"],
        )


def check_descending(timesteps: Sequence[float], num_train: int) -> None:
    """Check that custom timesteps decrease and start below the number of training timesteps.

    Raises:
        InputError: they do not.
    """
    problems = []
    if len(timesteps) == 0:
        problems.append("the list is empty")
    elif timesteps[0] >= num_train:
        problems.append(f"the first, {timesteps[0]}, is not below num_train_timesteps={num_train}")
    if any(after >= before for before, after in zip(timesteps[:-1], timesteps[1:], strict=True)):
        problems.append("they must be in descending order")
    if problems:
        raise InputError("The custom timesteps are not valid.", where=f"timesteps={list(timesteps)}", problems=problems)


def _unknown_spacing(spacing: str) -> ConfigError:
    return ConfigError(f"Unknown timestep_spacing {spacing!r}.", where="timestep_spacing", expected=", ".join(SPACINGS))
