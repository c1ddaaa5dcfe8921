"""A network's computation for fixed shapes as plain data: a list of operations, without weights.

Tracing a network gives a program in Paddle's intermediate representation (PIR), which only Paddle can read. A `Graph`
is the same list in a representation that any engine can read and that is stored as JSON.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

import paddle

# Attributes that do not affect the result of an operation.
_IGNORED_ATTRIBUTES = {"op_callstack", "struct_name", "stop_gradient", "place", "persistable", "op_role"}


@dataclass
class Operation:
    """An operation: `kind` is Paddle's name of it ("pd_op.conv2d"); inputs and outputs are numbers of values."""

    kind: str
    inputs: list[int | None]
    outputs: list[int]
    attributes: dict[str, Any]


@dataclass
class Graph:
    """Operations in topological order.

    Attributes:
        inputs: values of the inputs, in order.
        outputs: values of the outputs, in order.
        parameters: value -> state-dict key of its weight.
        types: value -> (shape, dtype); None for lists of values.
    """

    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    parameters: dict[int, str] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    types: dict[int, tuple[list[int], str] | None] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Graph:
        raw = json.loads(text)
        return cls(
            inputs=raw["inputs"],
            outputs=raw["outputs"],
            parameters={int(value): key for value, key in raw["parameters"].items()},
            operations=[Operation(**operation) for operation in raw["operations"]],
            types={int(value): None if kind is None else tuple(kind) for value, kind in raw["types"].items()},
        )

    def producers(self) -> dict[int, Operation]:
        """Return the operation that computes each value."""
        return {value: operation for operation in self.operations for value in operation.outputs}

    def use_counts(self) -> dict[int, int]:
        """Return how often each value is read, by operations and as an output."""
        counts: dict[int, int] = dict.fromkeys(self.outputs, 1)
        for operation in self.operations:
            for value in operation.inputs:
                if value is not None:
                    counts[value] = counts.get(value, 0) + 1
        return counts


def graph_of_program(
    program: paddle.pir.Program,
    inputs: list[paddle.pir.Value],
    outputs: list[paddle.pir.Value],
    parameters: dict[str, str],
) -> Graph:
    """Convert a program in Paddle's intermediate representation.

    Args:
        program: a program of one block.
        inputs, outputs: its input and output values.
        parameters: name of a parameter in the program -> its state-dict key.
    """
    graph = Graph()
    numbers: dict[int, int] = {}

    def number(value: paddle.pir.Value) -> int:
        if value.id not in numbers:
            numbers[value.id] = len(numbers)
            graph.types[numbers[value.id]] = _type_of(value)
        return numbers[value.id]

    for operation in program.global_block().ops:
        kind, attributes = operation.name(), operation.attrs()
        if kind == "builtin.parameter":
            graph.parameters[number(operation.result(0))] = parameters[attributes["parameter_name"]]
        elif kind not in ("pd_op.data", "builtin.shadow_output"):
            graph.operations.append(
                Operation(
                    kind,
                    [number(v) if v.initialized() else None for v in operation.operands_source()],
                    [number(v) for v in operation.results()],
                    {k: _plain(v) for k, v in attributes.items() if k not in _IGNORED_ATTRIBUTES},
                )
            )
    graph.outputs = [number(value) for value in outputs]
    used = graph.use_counts()  # tracing lists all buffers as parameters, used or not
    graph.parameters = {value: key for value, key in graph.parameters.items() if value in used}
    graph.inputs = [number(value) for value in inputs]
    return graph


def _type_of(value: paddle.pir.Value) -> tuple[list[int], str] | None:
    if not value.is_dense_tensor_type():
        return None
    return list(value.shape), _dtype_name(value.dtype)


def _dtype_name(dtype: object) -> str:
    return str(dtype).rpartition(".")[2].lower()


def _plain(value: object) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str)) else _dtype_name(value)
