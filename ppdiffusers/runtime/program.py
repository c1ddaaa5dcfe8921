"""Tracing: a method of a network and example arguments -> the program that computes it for these shapes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import paddle
from paddle import nn

from ppdiffusers.runtime.graph import Graph, graph_of_program
from ppdiffusers.runtime.kernels.attention import single_operation_attention
from ppdiffusers.runtime.pytree import TreeSpec, tree_flatten, tree_unflatten
from ppdiffusers.runtime.state import StatefulLayer, constant_filters_only, state_as_inputs


@dataclass
class Traced:
    """A traced program.

    Attributes:
        graph: the computation as plain data.
        result: tree specification of the method's result; its tensors are the graph's outputs.
        static: Paddle's own representation, which `paddle.jit.save` writes for Paddle's engines.
    """

    graph: Graph
    result: TreeSpec
    static: nn.Layer


@dataclass
class Example:
    """Example arguments of a method, for tracing.

    Attributes:
        arguments: tree specification of `(args, kwargs)`.
        tensors: the tensors of the arguments, then the state of `stateful`; only shapes and dtypes matter.
        stateful: layers whose state is an input of the program; other state is a constant in it.
    """

    arguments: TreeSpec
    tensors: list[paddle.Tensor]
    stateful: Sequence[StatefulLayer] = ()


class _Recorder(nn.Layer):
    """Calls the method with symbolic tensors and records the tree specification of the result."""

    def __init__(self, layer: nn.Layer, method: Callable, example: Example):
        super().__init__()
        self.layer = layer
        self._method, self._example = method, example
        self._state_sizes = [len(part.program_state()) for part in example.stateful]
        self.result: TreeSpec | None = None
        self.training = False  # not eval(), which would change the network's layers

    def forward(self, inputs: Sequence[paddle.pir.Value]) -> list[paddle.pir.Value]:
        return self._call(inputs)

    @paddle.jit.not_to_static
    def _call(self, inputs: Sequence[paddle.pir.Value]) -> list[paddle.pir.Value]:
        args, kwargs = tree_unflatten(self._example.arguments, inputs)
        state, outputs = inputs[len(inputs) - sum(self._state_sizes) :], []
        with state_as_inputs(self._example.stateful, self._state_sizes, state):
            self.result = tree_flatten(self._method(*args, **kwargs), outputs)
        # a program returns each tensor once: repeated ones are copied
        return [paddle.assign(x) if any(x is y for y in outputs[:n]) else x for n, x in enumerate(outputs)]


def trace(
    layer: nn.Layer, method: Callable, example: Example, fused_attention: bool = False, constant_filters: bool = False
) -> Traced:
    """Record what `method` of `layer` does with these arguments; nothing is computed.

    Args:
        fused_attention: write each attention without slices, for engines that have one operation for it; otherwise
            in slices that keep the score matrices small.
        constant_filters: write no convolution whose weight is state.
    """
    specs = [
        paddle.static.InputSpec(tensor.shape, tensor.dtype, name=f"input_{n}")
        for n, tensor in enumerate(example.tensors)
    ]
    recorder = _Recorder(layer, method, example)
    attention = single_operation_attention() if fused_attention else contextlib.nullcontext()
    filters = constant_filters_only() if constant_filters else contextlib.nullcontext()
    with paddle.no_grad(), attention, filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle's, about what traced values do not have
        static = paddle.jit.to_static(recorder, input_spec=[specs], full_graph=True)
        traced = static.forward.concrete_program
    keys = {id(tensor): key for key, tensor in (*layer.named_parameters(), *layer.named_buffers())}
    names = {tensor.name: keys[id(tensor)] for tensor in traced.parameters[0]}
    inputs = list(traced.inputs[1])  # the first is `self`
    outputs = paddle.utils.flatten(traced.outputs)
    graph = graph_of_program(traced.main_program, inputs, outputs, names)
    return Traced(graph, recorder.result, static)
