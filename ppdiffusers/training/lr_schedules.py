"""Learning rate schedules of diffusers, as Paddle learning rate schedulers.

Each schedule multiplies the initial learning rate by a factor of the step. In Paddle an optimizer is created from its
schedule, in diffusers a schedule from its optimizer. Both work here: the first argument is a learning rate, or an
optimizer, whose schedule is then set.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

from paddle.optimizer import Optimizer
from paddle.optimizer.lr import LambdaDecay

from ppdiffusers.core.errors import InputError

DEFAULT_LEARNING_RATE = 0.1  # Paddle's and ppdiffusers 0.29's


class SchedulerType(Enum):
    """Names of the schedules."""

    LINEAR = "linear"
    COSINE = "cosine"
    COSINE_WITH_RESTARTS = "cosine_with_restarts"
    POLYNOMIAL = "polynomial"
    CONSTANT = "constant"
    CONSTANT_WITH_WARMUP = "constant_with_warmup"
    PIECEWISE_CONSTANT = "piecewise_constant"


def get_constant_schedule(
    optimizer: Optimizer | float = DEFAULT_LEARNING_RATE, last_epoch: int = -1, *, learning_rate: float | None = None
) -> LambdaDecay:
    """Keep the learning rate constant."""
    return _schedule(optimizer, learning_rate, lambda step: 1.0, last_epoch)


def get_constant_schedule_with_warmup(
    optimizer: Optimizer | float = DEFAULT_LEARNING_RATE,
    num_warmup_steps: int = 0,
    last_epoch: int = -1,
    *,
    learning_rate: float | None = None,
) -> LambdaDecay:
    """Raise the learning rate linearly from 0, then keep it constant."""
    return _schedule(optimizer, learning_rate, _with_warmup(lambda step: 1.0, num_warmup_steps), last_epoch)


def get_piecewise_constant_schedule(
    optimizer: Optimizer | float = DEFAULT_LEARNING_RATE,
    step_rules: str = "1",
    last_epoch: int = -1,
    *,
    learning_rate: float | None = None,
) -> LambdaDecay:
    """Multiply the learning rate by a constant in each range of steps.

    Args:
        optimizer: optimizer or learning rate.
        step_rules: "factor:end" pairs and the last factor: "1:10,0.1:20,0.01" is 1 before step 10, 0.1 before step 20,
            and 0.01 from there on.
        last_epoch: index of the last step when training is resumed.
        learning_rate: the initial learning rate, by keyword.

    Raises:
        InputError: `step_rules` does not have this form.
    """
    return _schedule(optimizer, learning_rate, _piecewise(step_rules), last_epoch)


def get_linear_schedule_with_warmup(
    optimizer: Optimizer | float = DEFAULT_LEARNING_RATE,
    num_warmup_steps: int = 0,
    num_training_steps: int = 1,
    last_epoch: int = -1,
    *,
    learning_rate: float | None = None,
) -> LambdaDecay:
    """Raise the learning rate linearly from 0, then lower it linearly to 0."""
    decay_steps = max(1, num_training_steps - num_warmup_steps)

    def decay(step: int) -> float:
        return max(0.0, (num_training_steps - step) / decay_steps)

    return _schedule(optimizer, learning_rate, _with_warmup(decay, num_warmup_steps), last_epoch)


def get_cosine_schedule_with_warmup(
    optimizer: Optimizer | float = DEFAULT_LEARNING_RATE,
    num_warmup_steps: int = 0,
    num_training_steps: int = 1,
    num_cycles: float = 0.5,
    last_epoch: int = -1,
    *,
    learning_rate: float | None = None,
) -> LambdaDecay:
    """Raise the learning rate linearly from 0, then follow a cosine with `num_cycles` periods."""
    decay_steps = max(1, num_training_steps - num_warmup_steps)

    def decay(step: int) -> float:
        progress = (step - num_warmup_steps) / decay_steps
        return max(0.0, 0.5 * (1.0 + math.cos(2.0 * math.pi * num_cycles * progress)))

    return _schedule(optimizer, learning_rate, _with_warmup(decay, num_warmup_steps), last_epoch)


def get_cosine_with_hard_restarts_schedule_with_warmup(
    optimizer: Optimizer | float = DEFAULT_LEARNING_RATE,
    num_warmup_steps: int = 0,
    num_training_steps: int = 1,
    num_cycles: int = 1,
    last_epoch: int = -1,
    *,
    learning_rate: float | None = None,
) -> LambdaDecay:
    """Raise the learning rate linearly from 0, then lower it along half a cosine `num_cycles` times."""
    decay_steps = max(1, num_training_steps - num_warmup_steps)

    def decay(step: int) -> float:
        progress = (step - num_warmup_steps) / decay_steps
        if progress >= 1.0:
            return 0.0
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((num_cycles * progress) % 1.0))))

    return _schedule(optimizer, learning_rate, _with_warmup(decay, num_warmup_steps), last_epoch)


def get_polynomial_decay_schedule_with_warmup(
    optimizer: Optimizer | float = DEFAULT_LEARNING_RATE,
    num_warmup_steps: int = 0,
    num_training_steps: int = 1,
    lr_end: float = 1e-7,
    power: float = 1.0,
    last_epoch: int = -1,
    *,
    learning_rate: float | None = None,
) -> LambdaDecay:
    """Raise the learning rate linearly from 0, then lower it to `lr_end` along a polynomial.

    Raises:
        InputError: `lr_end` is not below the initial learning rate.
    """
    initial = _initial(optimizer, learning_rate)
    if not initial > lr_end:
        raise InputError(
            "The final learning rate is not below the initial one.",
            where=f"lr_end={lr_end}, initial learning rate {initial}",
            expected="lr_end < initial learning rate",
        )
    decay_steps = num_training_steps - num_warmup_steps

    def decay(step: int) -> float:
        if step > num_training_steps:
            return lr_end / initial
        remaining = 1 - (step - num_warmup_steps) / decay_steps
        return ((initial - lr_end) * remaining**power + lr_end) / initial

    return _schedule(optimizer, learning_rate, _with_warmup(decay, num_warmup_steps), last_epoch)


TYPE_TO_SCHEDULER_FUNCTION: dict[SchedulerType, Callable[..., LambdaDecay]] = {
    SchedulerType.LINEAR: get_linear_schedule_with_warmup,
    SchedulerType.COSINE: get_cosine_schedule_with_warmup,
    SchedulerType.COSINE_WITH_RESTARTS: get_cosine_with_hard_restarts_schedule_with_warmup,
    SchedulerType.POLYNOMIAL: get_polynomial_decay_schedule_with_warmup,
    SchedulerType.CONSTANT: get_constant_schedule,
    SchedulerType.CONSTANT_WITH_WARMUP: get_constant_schedule_with_warmup,
    SchedulerType.PIECEWISE_CONSTANT: get_piecewise_constant_schedule,
}
# What each schedule uses in addition to the learning rate and `last_epoch`; those of `_REQUIRED` must be given.
_SETTINGS: dict[SchedulerType, tuple[str, ...]] = {
    SchedulerType.LINEAR: ("num_warmup_steps", "num_training_steps"),
    SchedulerType.COSINE: ("num_warmup_steps", "num_training_steps"),
    SchedulerType.COSINE_WITH_RESTARTS: ("num_warmup_steps", "num_training_steps", "num_cycles"),
    SchedulerType.POLYNOMIAL: ("num_warmup_steps", "num_training_steps", "power"),
    SchedulerType.CONSTANT: (),
    SchedulerType.CONSTANT_WITH_WARMUP: ("num_warmup_steps",),
    SchedulerType.PIECEWISE_CONSTANT: ("step_rules",),
}
_REQUIRED = ("num_warmup_steps", "num_training_steps", "step_rules")


def get_scheduler(
    name: str | SchedulerType,
    optimizer: Optimizer | float = DEFAULT_LEARNING_RATE,
    step_rules: str | None = None,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    num_cycles: int = 1,
    power: float = 1.0,
    last_epoch: int = -1,
    *,
    learning_rate: float | None = None,
) -> LambdaDecay:
    """Create a schedule by name.

    Args:
        name: "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup" or
            "piecewise_constant".
        optimizer: an optimizer, whose schedule is set (diffusers), or the initial learning rate (ppdiffusers 0.29).
        step_rules: rules of "piecewise_constant".
        num_warmup_steps: steps in which the learning rate rises from 0.
        num_training_steps: total number of steps.
        num_cycles: restarts of "cosine_with_restarts".
        power: exponent of "polynomial".
        last_epoch: index of the last step when training is resumed.
        learning_rate: the initial learning rate, by keyword.

    Raises:
        InputError: the name is unknown, or settings that the schedule requires are missing.
    """
    known = [kind.value for kind in SchedulerType]
    if not isinstance(name, SchedulerType) and name not in known:
        raise InputError("Unknown learning rate schedule.", where=f"name={name!r}", expected=", ".join(known))
    kind = SchedulerType(name)
    given = {
        "step_rules": step_rules,
        "num_warmup_steps": num_warmup_steps,
        "num_training_steps": num_training_steps,
        "num_cycles": num_cycles,
        "power": power,
    }
    settings = {key: given[key] for key in _SETTINGS[kind]}
    missing = [key for key in settings if key in _REQUIRED and settings[key] is None]
    if missing:
        raise InputError(
            f"The schedule {kind.value!r} requires more settings.", problems=[f"{key} is missing" for key in missing]
        )
    return TYPE_TO_SCHEDULER_FUNCTION[kind](optimizer, last_epoch=last_epoch, learning_rate=learning_rate, **settings)


# -- factors ----------------------------------------------------------------------------------------------------------


def _with_warmup(decay: Callable[[int], float], num_warmup_steps: int) -> Callable[[int], float]:
    def factor(step: int) -> float:
        return step / max(1, num_warmup_steps) if step < num_warmup_steps else decay(step)

    return factor


def _piecewise(step_rules: str) -> Callable[[int], float]:
    *rules, last = step_rules.split(",")
    try:
        pieces = sorted((int(end), float(factor)) for factor, end in (rule.split(":") for rule in rules))
        final = float(last)
    except ValueError as error:
        raise InputError(
            "The step rules cannot be read.", where=f"step_rules={step_rules!r}", expected='such as "1:10,0.1:20,0.01"'
        ) from error
    return lambda step: next((factor for end, factor in pieces if step < end), final)


def _initial(optimizer: Optimizer | float, learning_rate: float | None) -> float:
    if learning_rate is not None:
        return float(learning_rate)
    if not isinstance(optimizer, Optimizer):
        return float(optimizer)
    current = optimizer._learning_rate  # a number, or the schedule that is replaced
    return float(current) if isinstance(current, (int, float)) else float(current.base_lr)


def _schedule(
    optimizer: Optimizer | float, learning_rate: float | None, factor: Callable[[int], float], last_epoch: int
) -> LambdaDecay:
    schedule = LambdaDecay(_initial(optimizer, learning_rate), factor, last_epoch=last_epoch)
    if isinstance(optimizer, Optimizer):
        optimizer.set_lr_scheduler(schedule)
    return schedule
