"""A thread that runs functions for other threads, for libraries that work in one thread only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """Runs functions one after the other in one thread, which starts with the first of them."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        # a queue that finalizers may use: they run at any time, even while the same thread uses the queue
        self._tasks: SimpleQueue[tuple[Callable, Future]] = SimpleQueue()

    def run(self, function: Callable[[], T]) -> T:
        """Run `function` in the thread; return its result or raise its exception."""
        self._start()
        return self._put(function).result()

    def run_later(self, function: Callable[[], object]) -> None:
        """Run `function` after everything that was submitted before, without waiting."""
        self._put(function)

    def _put(self, function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._tasks.put((function, future))
        return future

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="ppdiffusers worker", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            _run(*self._tasks.get())


def _run(function: Callable, future: Future) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # the caller raises it
        future.set_exception(error)
