"""Functions that run in several threads at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

TIMEOUT = 60


def in_threads(functions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each function in a new thread, all at the same time; return results and exceptions in order."""
    results: list[Any] = [TimeoutError(f"a thread runs for more than {TIMEOUT} s")] * len(functions)
    start = threading.Barrier(len(functions))

    def run(position: int) -> None:
        start.wait()
        try:
            results[position] = functions[position]()
        except BaseException as error:
            results[position] = error

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    return results
