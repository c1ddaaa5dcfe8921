"""The timesteps of a call, and the keyword arguments of a scheduler's step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ppdiffusers.core.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers.schedulers.common.types import Scheduler


def retrieve_timesteps(
    scheduler: Scheduler,
    num_inference_steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    sigmas: Sequence[float] | None = None,
) -> tuple[np.ndarray, int]:
    """Set the scheduler's timesteps by their number, or explicitly; return them and the number of steps."""
    if timesteps is not None:
        scheduler.set_timesteps(timesteps=timesteps)
    elif sigmas is not None:
        scheduler.set_timesteps(sigmas=sigmas)
    else:
        scheduler.set_timesteps(num_inference_steps)
        return scheduler.timesteps, num_inference_steps
    return scheduler.timesteps, len(scheduler.timesteps)


def last_timesteps(
    scheduler: Scheduler,
    timesteps: np.ndarray,
    num_inference_steps: int,
    strength: float,
    set_begin_index: bool = True,
) -> tuple[np.ndarray, int]:
    """The last fraction `strength` of the timesteps, for a call that starts from an image, and their number of steps.

    Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations" (arXiv 2108.01073).

    Args:
        set_begin_index: set the scheduler's begin index; otherwise it searches its schedule for the first timestep.

    Raises:
        InputError: no step remains, or the scheduler has no `add_noise`.
    """
    if not hasattr(scheduler, "add_noise"):
        raise InputError(
            f"{type(scheduler).__name__} cannot add noise to an image.",
            expected="a scheduler with `add_noise`, such as DDIMScheduler or EulerDiscreteScheduler",
        )
    kept = min(int(num_inference_steps * strength), num_inference_steps)
    if kept < 1:
        raise InputError(
            f"`strength` {strength!r} of {num_inference_steps} step(s) leaves no step.",
            expected="strength * num_inference_steps of at least 1",
        )
    first = (num_inference_steps - kept) * scheduler.order
    if set_begin_index and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return timesteps[first:], kept


def step_kwargs(scheduler: Scheduler, generator: Any, eta: float = 0.0) -> dict[str, Any]:
    """Keyword arguments of `scheduler.step`; `eta` for the schedulers that have it (DDIM, arXiv 2010.02502)."""
    return {"generator": generator, **({"eta": eta} if scheduler.accepts_eta else {})}
