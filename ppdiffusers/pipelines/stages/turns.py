"""Turns of pipeline calls: which calls of different threads run at the same time.

A call changes the scheduler (timesteps, earlier predictions), attributes of the pipeline (`guidance_scale`,
`interrupt`), and Paddle's default device, which the whole process has. Calls with the same scheduler object or the
same pipeline object therefore run one after the other, and so do calls on different devices. A callback may call other
pipelines, since the calls of one thread never wait for each other.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import paddle

from ppdiffusers.core.errors import InputError

if TYPE_CHECKING:
    from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline


@dataclass(eq=False)
class _Call:
    """A call that runs or waits: its thread, its device, and the ids of the objects that it changes."""

    thread: int
    device: str
    objects: frozenset[int]

    def conflicts(self, other: _Call) -> bool:
        shares = self.device != other.device or not self.objects.isdisjoint(other.objects)
        return shares and self.thread != other.thread


class Turns:
    """Calls that run and calls that wait, in the order in which they began."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: list[_Call] = []
        self._waiting: list[_Call] = []
        self._default_device = ""  # before the first call

    @contextlib.contextmanager
    def take(self, device: str, *objects: object) -> Iterator[None]:
        """Wait until no call of another thread conflicts, and run the block with `device` as the default device.

        Raises:
            InputError: calls of several threads, made from callbacks, wait for each other.
        """
        call = _Call(threading.get_ident(), device, frozenset(map(id, objects)))
        try:
            with self._changed:
                self._wait(call)
                self._start(call)
            yield
        finally:
            with self._changed:
                self._end(call)

    def _wait(self, call: _Call) -> None:
        self._waiting.append(call)
        try:
            while self._blockers(call):
                if self._waits_for_itself(call):
                    raise InputError(
                        "Threads wait for each other: their callbacks call pipelines that other threads use.",
                        remedy="give each thread a pipeline with a separate scheduler, on the same device: "
                        "`from_pipe(pipe, scheduler=...)`.",
                    )
                self._changed.wait()
        finally:
            self._waiting.remove(call)
            self._changed.notify_all()

    def _start(self, call: _Call) -> None:
        current = paddle.device.get_device()
        if current != call.device:
            paddle.device.set_device(call.device)
        if not self._running:
            self._default_device = current
        self._running.append(call)

    def _end(self, call: _Call) -> None:
        if call not in self._running:  # it did not start
            return
        self._running.remove(call)
        device = self._running[-1].device if self._running else self._default_device
        if device != call.device:
            paddle.device.set_device(device)
        self._changed.notify_all()

    def _blockers(self, call: _Call) -> list[_Call]:
        """Calls that `call` has to wait for: running ones, and those that began to wait earlier.

        A call from a callback passes those that wait, since they may wait for the call that it is part of.
        """
        nested = any(other.thread == call.thread for other in self._running)
        earlier = [] if nested else self._waiting[: self._waiting.index(call)]
        return [other for other in (*self._running, *earlier) if call.conflicts(other)]

    def _waits_for_itself(self, call: _Call) -> bool:
        """Return whether a call that `call` waits for waits, directly or not, for another call of the same thread."""
        seen: set[int] = set()
        found = self._blockers(call)
        while found:
            thread = found.pop().thread
            if thread == call.thread:
                return True
            if thread not in seen:
                seen.add(thread)
                for other in self._waiting:
                    found += self._blockers(other) if other.thread == thread else []
        return False


# One object for all calls: the device is a property of the process, and pipelines share schedulers.
_calls = Turns()


def pipeline_turn(pipeline: DiffusionPipeline) -> contextlib.AbstractContextManager[None]:
    """Wait until no call of another thread changes this pipeline, its schedulers, or the default device."""
    schedulers = [value for name, value in vars(pipeline).items() if name.endswith("scheduler") and value is not None]
    offload = () if pipeline._offload is None else (pipeline._offload,)  # it moves networks that calls may share
    return _calls.take(pipeline._execution_device, pipeline, *schedulers, *offload)
