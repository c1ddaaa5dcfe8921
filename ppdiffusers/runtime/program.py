"""Tracing: a method of a network and example arguments -> the program that computes it for these shapes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn

from ppdiffusers.runtime.graph import Graph, graph_of_program
from ppdiffusers.runtime.kernels.attention import single_operation_attention
from ppdiffusers.runtime.structure import Template, flatten, rebuild


@dataclass
class Traced:
    """What tracing gives.

    Attributes:
        graph: the computation as plain data.
        result: template of what the method returns, around the graph's outputs.
        static: Paddle's own form of it, which `paddle.jit.save` writes for Paddle's own engines.
    """

    graph: Graph
    result: Template
    static: Any


class _Recorder(nn.Layer):
    """Calls the method with tensors in the places of the template's, and remembers the form of the result."""

    def __init__(self, layer: nn.Layer, method: Callable, arguments: Template):
        super().__init__()
        self.layer = layer
        self._method, self._arguments, self.result = method, arguments, None

    def forward(self, tensors):
        return self._call(tensors)

    @paddle.jit.not_to_static
    def _call(self, tensors):
        args, kwargs = rebuild(self._arguments, tensors)
        outputs: list = []
        self.result = flatten(self._method(*args, **kwargs), outputs)
        # a program gives each tensor once, and copies keep their places
        return [paddle.assign(x) if any(x is y for y in outputs[:n]) else x for n, x in enumerate(outputs)]


def trace(layer: nn.Layer, method: Callable, arguments: Template, tensors: list[paddle.Tensor], whole: bool) -> Traced:
    """Record what `method` of `layer` does with these arguments; nothing is computed.

    Args:
        arguments: template of `(args, kwargs)`.
        tensors: the tensors in them; only their shapes and dtypes matter.
        whole: write each attention in one piece, for engines that have one operation for it; otherwise in slices
            that keep the score matrices small.
    """
    specs = [paddle.static.InputSpec(tensor.shape, tensor.dtype, name=f"input_{n}") for n, tensor in enumerate(tensors)]
    recorder = _Recorder(layer, method, arguments)
    recorder.eval()
    attention = single_operation_attention() if whole else contextlib.nullcontext()
    with paddle.no_grad(), attention, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Paddle's, about what traced values do not have
        static = paddle.jit.to_static(recorder, input_spec=[specs], full_graph=True)
        traced = static.forward.concrete_program
    keys = {id(tensor): key for key, tensor in (*layer.named_parameters(), *layer.named_buffers())}
    names = {tensor.name: keys[id(tensor)] for tensor in traced.parameters[0]}
    inputs = list(traced.inputs[1])  # the first is `self`
    outputs = paddle.utils.flatten(traced.outputs)
    graph = graph_of_program(traced.main_program, inputs, outputs, names)
    return Traced(graph, recorder.result, static)
