"""State of programs: tensors of a layer that a compiled program gets as inputs at each call.

Weights are compiled into a program; changing one makes the program stale. Adapters are different: their matrices and
scales are switched between two images. A layer that derives from `StatefulLayer` passes such tensors to the program
together with the call's arguments.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator, Mapping, Sequence

import paddle

_traced: contextvars.ContextVar[Mapping[int, tuple[paddle.pir.Value, ...]] | None] = contextvars.ContextVar(
    "state of the program that is being traced", default=None
)
_constant_filters: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "whether the engine needs constant filters", default=False
)


class StatefulLayer:
    """Base of layers that have state. Their buffers are never compiled into a program as weights are.

    Attributes:
        state_attributes: names of attributes that affect a result through `program_state` alone, so that a program
            stays valid when they change.
    """

    state_attributes: tuple[str, ...] = ()

    def program_state(self) -> tuple[paddle.Tensor, ...]:
        """Return the state. Shapes and dtypes are part of a program's signature, values are not."""
        return ()


@functools.lru_cache(maxsize=1024)
def state_of_numbers(values: float | tuple[float, ...], place: str) -> paddle.Tensor:
    """Return numbers as a float32 tensor, a scalar or [N], that is state; `place` is the text of a Paddle place."""
    return paddle.to_tensor(values, dtype="float32", place=place.removeprefix("Place(").removesuffix(")"))


def collect_state(layers: Sequence[StatefulLayer]) -> list[paddle.Tensor]:
    """Return the state of all layers, in order."""
    return [tensor for layer in layers for tensor in layer.program_state()]


def traced_state(layer: StatefulLayer) -> tuple[paddle.pir.Value, ...] | None:
    """Return the program's inputs for the layer's state while a program is traced, otherwise None."""
    traced = _traced.get()
    return None if traced is None else traced.get(id(layer))


def is_tracing() -> bool:
    """Return whether a program that gets its state as inputs is being traced in this context."""
    return _traced.get() is not None


@contextlib.contextmanager
def constant_filters_only() -> Iterator[None]:
    """Trace for an engine whose convolutions need weights that do not change between calls."""
    token = _constant_filters.set(True)
    try:
        yield
    finally:
        _constant_filters.reset(token)


def needs_constant_filters() -> bool:
    """Return whether a convolution with state as its weight has to be written with other operations."""
    return _constant_filters.get()


@contextlib.contextmanager
def state_as_inputs(
    layers: Sequence[StatefulLayer], sizes: Sequence[int], inputs: Sequence[paddle.pir.Value]
) -> Iterator[None]:
    """Let `traced_state` return these inputs of a program.

    Args:
        sizes: the number of tensors of each layer's state.
        inputs: in the order of `collect_state`.
    """
    traced, start = {}, 0
    for layer, size in zip(layers, sizes):
        traced[id(layer)] = tuple(inputs[start : start + size])
        start += size
    token = _traced.set(traced)
    try:
        yield
    finally:
        _traced.reset(token)
