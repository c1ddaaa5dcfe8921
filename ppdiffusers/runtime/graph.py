"""A network's computation for fixed shapes: a list of operations without any weights in it.

Paddle traces the network; what comes out is a program in Paddle's intermediate representation, which only Paddle
can read. This is the same list as plain data: it goes to disk as JSON and into any engine.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

# Attributes that say where an operation came from or where it runs, and nothing about its result.
_NO_MEANING = {"op_callstack", "struct_name", "stop_gradient", "place", "persistable", "op_role"}


@dataclass
class Operation:
    """One step: `kind` is Paddle's name of it ("pd_op.conv2d"); inputs and outputs are numbers of values."""

    kind: str
    inputs: list[int | None]
    outputs: list[int]
    attributes: dict[str, Any]


@dataclass
class Graph:
    """Operations in an order in which they can run.

    Attributes:
        inputs: values the caller gives, in order.
        outputs: values the caller gets, in order.
        parameters: value -> the state-dict key of the weight that it is.
        types: value -> (shape, dtype); None for values that are lists of others.
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
        """value -> the operation that makes it."""
        return {value: operation for operation in self.operations for value in operation.outputs}

    def use_counts(self) -> dict[int, int]:
        """value -> how many operations (and the caller) read it."""
        counts: dict[int, int] = dict.fromkeys(self.outputs, 1)
        for operation in self.operations:
            for value in operation.inputs:
                if value is not None:
                    counts[value] = counts.get(value, 0) + 1
        return counts


def graph_of_program(program: Any, inputs: list, outputs: list, parameters: dict[str, str]) -> Graph:
    """Read a program in Paddle's intermediate representation.

    Args:
        program: a `paddle.pir.Program` of one block.
        inputs, outputs: its values that the caller gives and gets.
        parameters: name of a parameter inside the program -> its state-dict key.
    """
    graph, numbers = Graph(), {}

    def number(value: Any) -> int:
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
                    {k: _plain(v) for k, v in attributes.items() if k not in _NO_MEANING},
                )
            )
    graph.inputs = [number(value) for value in inputs]
    graph.outputs = [number(value) for value in outputs]
    return graph


def _type_of(value: Any) -> tuple[list[int], str] | None:
    if not value.is_dense_tensor_type():
        return None
    return list(value.shape), _dtype_name(value.dtype)


def _dtype_name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2].lower()


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (bool, int, float, str)) else _dtype_name(value)
