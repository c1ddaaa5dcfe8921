"""OpenVINO as an engine: a graph is translated to an OpenVINO model directly, without a file format and its limits.

The model shares the memory of the weights; compiling it makes a rearranged copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import openvino as ov
import paddle
from openvino import opset15 as ops

from ppdiffusers.core.errors import ConversionError
from ppdiffusers.runtime.engines.openvino_operations import TABLE
from ppdiffusers.runtime.graph import Graph, Operation
from ppdiffusers.utils.arrays import array_view

_DTYPES = {"float32": "f32", "bfloat16": "bf16"}
# A value is a node's output, an array that is known at compile time, or a list of outputs.
Translated: TypeAlias = "ov.Output | np.ndarray | list[ov.Output]"


class Translator:
    """Translates the operations of a graph to OpenVINO's nodes.

    Attributes:
        values: value of the graph -> its translation.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, np.ndarray]):
        self.graph = graph
        self.problems: list[str] = []
        self.producers = graph.producers()
        self.uses = graph.use_counts()
        self.values: dict[int, Translated | None] = {
            value: ov.op.Constant(weights[key], shared_memory=True).output(0) for value, key in graph.parameters.items()
        }

    def model(self) -> ov.Model:
        """Translate the whole graph.

        Raises:
            ConversionError: operations are not supported; all of them are listed.
        """
        unknown = {operation.kind for operation in self.graph.operations} - TABLE.keys()
        if unknown:
            raise ConversionError("The OpenVINO engine does not support these operations.", problems=sorted(unknown))
        inputs = []
        for value in self.graph.inputs:
            shape, dtype = self.graph.types[value]
            inputs.append(ops.parameter(shape, np.dtype(dtype)))
            self.values[value] = inputs[-1].output(0)
        for operation in self.graph.operations:
            results = TABLE[operation.kind](self, operation)
            self.values.update(zip(operation.outputs, map(_as_output, results)))
        if self.problems:
            raise ConversionError("The OpenVINO engine does not support these operations.", problems=self.problems)
        return ov.Model([ops.result(self._output(value)) for value in self.graph.outputs], inputs)

    # -- for the functions that translate operations -------------------------------------------------------------

    def node(self, op: Operation, n: int) -> ov.Output:
        """Return the n-th input as a node's output."""
        return self._output(op.inputs[n])

    def _output(self, value: int) -> ov.Output:
        known = self.values[value]
        return ops.constant(np.ascontiguousarray(known)).output(0) if isinstance(known, np.ndarray) else known

    def array(self, op: Operation, n: int) -> np.ndarray:
        """Return the n-th input, which has to be known at compile time."""
        known = self.values[op.inputs[n]]
        if not isinstance(known, np.ndarray):
            raise ConversionError(f"{op.kind}: its input {n} is computed; the OpenVINO engine needs a constant.")
        return known

    def shape(self, op: Operation) -> list[int]:
        """Return the shape of the first output."""
        return list(self.graph.types[op.outputs[0]][0])

    def shape_of_input(self, op: Operation, n: int) -> list[int]:
        return list(self.graph.types[op.inputs[n]][0])

    def dtype(self, op: Operation) -> np.dtype:
        """Return the dtype of the first output."""
        return np.dtype(self.graph.types[op.outputs[0]][1])

    def reshaped(self, node: ov.Output, shape: Sequence[int]) -> ov.Output:
        return ops.reshape(node, ops.constant(np.asarray(shape, np.int64)), False).output(0)

    def reject(self, variant: str) -> None:
        """Report an unsupported variant of an operation."""
        self.problems.append(variant)

    # -- attention ----------------------------------------------------------------------------------------------

    def as_attention(self, op: Operation) -> ov.Output | None:
        """Translate `softmax(q k^T [* scale] [+ bias]) v` to OpenVINO's fused operation, or return None.

        The fused operation does not store the score matrix.
        """
        softmax = self._only_used_here(op.inputs[0], "pd_op.softmax")
        if softmax is None or softmax.attributes["axis"] != -1 or op.attributes["transpose_y"]:
            return None
        scores, bias, scale = softmax.inputs[0], None, 1.0
        add = self._only_used_here(scores, "pd_op.add")
        if add is not None:
            scores, bias = add.inputs
        scaled = self._only_used_here(scores, "pd_op.scale")
        if scaled is not None and scaled.attributes["bias"] == 0:
            scores, scale = scaled.inputs[0], self.array(scaled, 1).item()
        product = self._only_used_here(scores, "pd_op.matmul")
        if product is None or product.attributes["transpose_x"] or not product.attributes["transpose_y"]:
            return None
        query, key, value = product.inputs[0], product.inputs[1], op.inputs[1]
        before = self._only_used_here(query, "pd_op.scale")
        if before is not None and before.attributes["bias"] == 0:
            query, scale = before.inputs[0], scale * self.array(before, 1).item()
        return self._attention(query, key, value, bias, scale, self.shape(op))

    def _attention(
        self, query: int, key: int, value: int, bias: int | None, scale: float, shape: list[int]
    ) -> ov.Output | None:
        q, k, v = (self._with_heads(part) for part in (query, key, value))  # [B, H, N, D]
        if not q.get_shape()[:2] == k.get_shape()[:2] == v.get_shape()[:2]:
            return None
        mask = None
        if bias is not None:
            mask, mask_shape = self._output(bias), list(self.graph.types[bias][0])
            if len(mask_shape) == 3:  # [B*H or 1, 1 or Q, K]
                rows = list(q.get_shape()[:2]) if mask_shape[0] > 1 else [1, 1]
                mask = self.reshaped(mask, [*rows, *mask_shape[1:]])  # [B or 1, H or 1, 1 or Q, K]
        factor = ops.constant(np.float32(scale)).output(0)
        if mask is None:  # the scale is the argument after the mask: pass zeros, which broadcast
            mask = ops.constant(np.zeros([1, 1, 1, 1], np.float32)).output(0)
        attended = ops.scaled_dot_product_attention(q, k, v, mask, factor, causal=False)
        return self.reshaped(attended.output(0), shape)

    def _with_heads(self, value: int) -> ov.Output:
        """Return [B*H, N, D] as [B, H, N, D], undoing the reshape that folded heads into the batch."""
        producer = self.producers.get(value)
        if len(self.graph.types[value][0]) == 4:
            return self._output(value)
        if producer is not None and producer.kind == "pd_op.reshape":
            before = self.shape_of_input(producer, 0)
            after = self.shape(producer)
            if len(before) == 4 and before[2:] == after[1:]:
                return self._output(producer.inputs[0])
        rows, tokens, width = self.graph.types[value][0]
        return self.reshaped(self._output(value), [1, rows, tokens, width])

    def _only_used_here(self, value: int, kind: str) -> Operation | None:
        producer = self.producers.get(value)
        return producer if producer is not None and producer.kind == kind and self.uses[value] == 1 else None


def _as_output(result: ov.Node | Translated | None) -> Translated | None:
    return result.output(0) if isinstance(result, ov.Node) else result


class OpenVinoRunner:
    """A graph, compiled and run by OpenVINO, for one thread at a time."""

    def __init__(self, graph: Graph, weights: Mapping[str, np.ndarray], dtype: str, threads: int):
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _DTYPES[dtype],
            "INFERENCE_NUM_THREADS": threads,
        }
        self._compiled = ov.Core().compile_model(Translator(graph, weights).model(), "CPU", settings)
        self._request = self._compiled.create_infer_request()

    def __call__(self, tensors: Sequence[paddle.Tensor]) -> list[paddle.Tensor]:
        inputs = [tensor.contiguous() for tensor in tensors]  # kept alive during the call: arrays are views
        results = self._request.infer([array_view(tensor) for tensor in inputs], share_inputs=True, share_outputs=True)
        outputs = [paddle.to_tensor(np.asarray(results[n])) for n in range(len(results))]
        # the memory of intermediate results, 770 MB for a VAE at 512x512, which the next network can use
        self._compiled.release_memory()
        return outputs
