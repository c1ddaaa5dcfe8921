"""The bookkeeping of the denoising loop: timesteps, progress bar, callbacks, interruption, the first NaN."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import paddle

from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


def inference(call: Callable) -> Callable:
    """Decorator of a pipeline's `__call__`: no gradients, compiled networks where that pays, and new tensors are
    made on the pipeline's device."""

    @functools.wraps(call)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = paddle.device.get_device()
        if self.device != before:
            paddle.device.set_device(self.device)
        try:
            with paddle.no_grad():
                self._compile_when_it_pays()
                return call(self, *args, **kwargs)
        finally:
            if self.device != before:
                paddle.device.set_device(before)

    return wrapper


def retrieve_timesteps(
    scheduler: Any,
    num_inference_steps: int | None = None,
    timesteps: Sequence[int] | None = None,
    sigmas: Sequence[float] | None = None,
) -> tuple[np.ndarray, int]:
    """Set the scheduler's steps by their number, or one by one, and give them with their count."""
    if timesteps is not None:
        scheduler.set_timesteps(timesteps=timesteps)
    elif sigmas is not None:
        scheduler.set_timesteps(sigmas=sigmas)
    else:
        scheduler.set_timesteps(num_inference_steps)
        return scheduler.timesteps, num_inference_steps
    return scheduler.timesteps, len(scheduler.timesteps)


def last_timesteps(
    scheduler: Any, timesteps: np.ndarray, num_inference_steps: int, strength: float, begin: bool = True
) -> tuple[np.ndarray, int]:
    """The last share `strength` of the timesteps, and how many steps they are: a run that starts from a picture.

    Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations" (arXiv 2108.01073).

    Args:
        begin: tell the scheduler where the run begins; otherwise it looks the first timestep up.

    Raises:
        InputError: no step is left, or the scheduler cannot noise a picture.
    """
    if not hasattr(scheduler, "add_noise"):
        raise InputError(
            f"{type(scheduler).__name__} cannot noise a picture to start from.",
            expected="a scheduler with `add_noise`, such as DDIMScheduler or EulerDiscreteScheduler",
        )
    kept = min(int(num_inference_steps * strength), num_inference_steps)
    if kept < 1:
        raise InputError(
            f"`strength` {strength!r} of {num_inference_steps} step(s) leaves no step to take.",
            expected="strength * num_inference_steps of at least 1",
        )
    first = (num_inference_steps - kept) * scheduler.order
    if begin and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    return timesteps[first:], kept


def step_kwargs(scheduler: Any, generator: Any, eta: float = 0.0) -> dict[str, Any]:
    """What `scheduler.step` takes besides the three tensors; `eta` is for DDIM and its kin (arXiv 2010.02502)."""
    return {"generator": generator, **({"eta": eta} if scheduler.accepts_eta else {})}


class FiniteWatch:
    """Remembers the first stage whose result was not finite.

    The findings stay tensors until `first_bad` asks, so that a GPU never waits for them.
    """

    def __init__(self) -> None:
        self._findings: list[tuple[str, paddle.Tensor]] = []

    def note(self, stage: str, result: paddle.Tensor) -> None:
        self._findings.append((stage, paddle.isfinite(result).all()))

    def first_bad(self) -> str | None:
        """The first noted stage that held NaN or infinity."""
        return next((stage for stage, finite in self._findings if not bool(finite)), None)

    def warn(self) -> None:
        """Say it, if a stage went wrong: the pictures are black or noise from there on."""
        stage = self.first_bad()
        if stage is not None:
            logger.warning(
                "NaN or infinite values first appeared in: %s. Pictures made from them are black. "
                "In half precision, try float32 (`pipe.to(dtype='float32')`); otherwise check the weights and inputs.",
                stage,
            )


class Loop:
    """One run through the timesteps.

    `steps()` gives (index, timestep) and stops when the pipeline's `interrupt` is set; `end_step` calls the
    callbacks, moves the progress bar and returns the tensors, changed where a callback changed them.

    Args:
        pipeline: its `progress_bar`, `interrupt` and `scheduler.order` are used.
        num_inference_steps: length of the progress bar; schedulers may take several timesteps for one step.
        on_step_end: called as `on_step_end(pipeline, index, timestep, tensors)`; returns a dict of changed tensors.
        tensor_inputs: names of the tensors that it is given.
        callback, callback_steps: the older form, called as `callback(index, timestep, latents)` every so many steps.
    """

    def __init__(
        self,
        pipeline: Any,
        timesteps: np.ndarray,
        num_inference_steps: int,
        on_step_end: Callable | None = None,
        tensor_inputs: Sequence[str] = ("latents",),
        callback: Callable | None = None,
        callback_steps: int | None = None,
    ):
        self.pipeline = pipeline
        self.timesteps = timesteps
        self.num_inference_steps = num_inference_steps
        self.on_step_end = on_step_end
        self.tensor_inputs = tensor_inputs
        self.callback = callback
        self.callback_steps = callback_steps or 1
        self.watch = FiniteWatch()

    def steps(self) -> Iterator[tuple[int, Any]]:
        order = self.pipeline.scheduler.order
        # the first timesteps of some multistep schedulers only gather history
        warmup = len(self.timesteps) - self.num_inference_steps * order
        with self.pipeline.progress_bar(total=self.num_inference_steps) as bar:
            for index, timestep in enumerate(self.timesteps):
                if self.pipeline.interrupt:
                    return
                yield index, timestep
                last = index == len(self.timesteps) - 1
                if last or (index + 1 > warmup and (index + 1) % order == 0):
                    bar.update()
                    self._call_back(index, timestep)

    def end_step(self, index: int, timestep: Any, **tensors: Any) -> tuple:
        """Tell the callback of this step; returns the values of `tensors`, in their order."""
        if self.on_step_end is not None:
            given = {name: tensors[name] for name in self.tensor_inputs}
            changed = self.on_step_end(self.pipeline, index, timestep, given) or {}
            unknown = [name for name in changed if name not in tensors]
            if unknown:
                raise InputError(
                    f"`callback_on_step_end` returned {', '.join(map(repr, unknown))}, which this loop does not have.",
                    expected=f"a dictionary with some of {', '.join(tensors)}",
                )
            tensors.update(changed)
        self._latents = tensors["latents"]
        self.watch.note(f"denoising step {index} (timestep {timestep})", self._latents)
        return tuple(tensors.values())

    def _call_back(self, index: int, timestep: Any) -> None:
        if self.callback is not None and index % self.callback_steps == 0:
            self.callback(index // self.pipeline.scheduler.order, timestep, self._latents)
