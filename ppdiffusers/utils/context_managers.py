"""Context managers that scripts import from diffusers and ppdiffusers 0.29."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType


class ContextManagers:
    """Several context managers as one."""

    def __init__(self, context_managers: Iterable[AbstractContextManager]):
        self.context_managers = list(context_managers)
        self.stack = ExitStack()

    def __enter__(self) -> None:
        for context_manager in self.context_managers:
            self.stack.enter_context(context_manager)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self.stack.__exit__(kind, error, traceback)


@contextmanager
def no_init_weights(_enable: bool = True) -> Iterator[None]:
    """Do nothing: there is no global switch for the initialization of weights, and `from_pretrained` skips it anyway.

    Networks that are created in it are initialized as usual. `paddle.LazyGuard` creates them without memory.
    """
    yield
