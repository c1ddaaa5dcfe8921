"""The timesteps of a call, and the keyword arguments of a scheduler's step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.schedulers.common.arrays import to_array
from ppdiffusers.utils.torch_utils import Generator

if TYPE_CHECKING:
    from ppdiffusers.schedulers.common.types import Scheduler


def retrieve_timesteps(
    scheduler: Scheduler,
    num_inference_steps: int | None = None,
    timesteps: Sequence[int] | np.ndarray | None = None,
    sigmas: Sequence[float] | None = None,
    **kwargs: Any,
) -> tuple[paddle.Tensor, int]:
    """Set the scheduler's timesteps by their number, or explicitly; return them and the number of steps.

    Args:
        kwargs: other arguments of `set_timesteps`, such as `original_inference_steps` of LCMScheduler.
    """
    if timesteps is not None:
        scheduler.set_timesteps(timesteps=timesteps, **kwargs)
    elif sigmas is not None:
        scheduler.set_timesteps(sigmas=sigmas, **kwargs)
    else:
        scheduler.set_timesteps(num_inference_steps, **kwargs)
        return scheduler.timesteps, num_inference_steps
    return scheduler.timesteps, len(scheduler.timesteps)


def last_timesteps(
    scheduler: Scheduler,
    timesteps: paddle.Tensor,
    num_inference_steps: int,
    strength: float,
    set_begin_index: bool = True,
) -> tuple[paddle.Tensor, int]:
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


def timesteps_until(
    scheduler: Scheduler, timesteps: paddle.Tensor, num_inference_steps: int, denoising_end: float | None
) -> tuple[paddle.Tensor, int]:
    """The timesteps of the first fraction `denoising_end` of the noise schedule, and their number of steps.

    The rest is for another network, as in eDiff-I (arXiv 2211.01324). All timesteps if `denoising_end` is None or 1.
    """
    if denoising_end is None or not 0 < denoising_end < 1:
        return timesteps, num_inference_steps
    kept = timesteps[: int((timesteps >= _cutoff(scheduler, denoising_end)).sum())]
    return kept, math.ceil(len(kept) / scheduler.order)


def timesteps_from(scheduler: Scheduler, timesteps: paddle.Tensor, denoising_start: float) -> tuple[paddle.Tensor, int]:
    """The timesteps after the first fraction `denoising_start` of the noise schedule, and their number of steps."""
    count = int((timesteps < _cutoff(scheduler, denoising_start)).sum())
    if scheduler.order == 2 and count % 2 == 0:
        count += 1  # all timesteps but the first are there twice; a step must not be cut in its middle
    first = len(timesteps) - count
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return timesteps[first:], math.ceil(count / scheduler.order)


def _cutoff(scheduler: Scheduler, fraction: float) -> int:
    """The timestep at which this fraction of the noise schedule, counted from pure noise, is denoised."""
    total = scheduler.config.num_train_timesteps
    return round(total - fraction * total)


def first_timestep(timesteps: paddle.Tensor, batch_size: int) -> paddle.Tensor:
    """The first timestep for each image, [batch_size]."""
    first = timesteps[:1]
    return (first if isinstance(first, paddle.Tensor) else paddle.to_tensor(first)).tile([batch_size])


def host_timesteps(scheduler: Scheduler) -> np.ndarray:
    """The timesteps of a scheduler on the host, so that a loop over them waits for no device."""
    found = getattr(scheduler, "host_timesteps", None)  # a scheduler of a user may not have it
    return to_array(scheduler.timesteps) if found is None else found


def step_kwargs(scheduler: Scheduler, generator: Generator, eta: float = 0.0) -> dict[str, Any]:
    """Keyword arguments of `scheduler.step`; `eta` for the schedulers that have it (DDIM, arXiv 2010.02502)."""
    return {"generator": generator, **({"eta": eta} if scheduler.accepts_eta else {})}
