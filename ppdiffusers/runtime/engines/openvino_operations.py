"""Translations of Paddle's operations to OpenVINO's: one small function for each kind.

A function gets the `Translator` and the operation, and returns the operation's outputs: nodes of OpenVINO, numpy
arrays for values that are known at compile time, or lists of these. Shapes are fixed, so that reshape, flatten,
squeeze and similar operations become a reshape to the known shape of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from ppdiffusers.runtime.graph import Operation

if TYPE_CHECKING:
    from ppdiffusers.runtime.engines.openvino import Translator

Translation: TypeAlias = "Callable[[Translator, Operation], list]"
TABLE: dict[str, Translation] = {}


def _translates(*kinds: str) -> Callable[[Translation], Translation]:
    """Register the decorated function for these kinds of operation."""

    def register(function: Translation) -> Translation:
        TABLE.update({f"pd_op.{kind}" if "." not in kind else kind: function for kind in kinds})
        return function

    return register


# -- constants --------------------------------------------------------------------------------------------------


@_translates("full", "full_int_array", "assign_value_", "assign_value")
def _constant(t: Translator, op: Operation) -> list:
    shape = op.attributes.get("shape", [len(op.attributes.get("value", ()))] if "int" in op.kind else [])
    values = op.attributes.get("values", op.attributes.get("value"))
    return [np.broadcast_to(np.asarray(values, t.dtype(op)).reshape(_fit(values, shape)), shape)]


def _fit(values: list | float, shape: list[int]) -> list[int]:
    return shape if isinstance(values, list) else [1] * len(shape)


@_translates("full_like")
def _full_like(t: Translator, op: Operation) -> list:
    return [np.full(t.shape(op), t.array(op, 1).item(), t.dtype(op))]


@_translates("arange")
def _arange(t: Translator, op: Operation) -> list:
    start, stop, step = (t.array(op, n).item() for n in range(3))
    return [np.arange(start, stop, step).astype(t.dtype(op))]


# -- elementwise ------------------------------------------------------------------------------------------------


def _mish(x: ov.Node) -> ov.Node:
    """Compute x tanh(log(1 + e)) with e = exp(x): x n / (n + 2) with n = e (e + 2).

    OpenVINO 2025 fails on its own Mish next to other elementwise operations ("Supported precisions set is not
    available"), and fuses the definition to it. Above 20 the quotient is 1.
    """
    two = ops.constant(np.float32(2))
    e = ops.exp(ops.minimum(x, ops.constant(np.float32(20))))
    n = ops.multiply(e, ops.add(e, two))
    return ops.multiply(x, ops.divide(n, ops.add(n, two)))


_UNARY = {
    "silu": ops.swish,
    "swish": ops.swish,
    "sigmoid": ops.sigmoid,
    "relu": ops.relu,
    "tanh": ops.tanh,
    "exp": ops.exp,
    "log": ops.log,
    "sin": ops.sin,
    "cos": ops.cos,
    "sqrt": ops.sqrt,
    "abs": ops.abs,
    "floor": ops.floor,
    "erf": ops.erf,
    "logical_not": ops.logical_not,
    "assign": lambda x: x,
    "softplus": ops.softplus,
    "mish": _mish,
    "square": lambda x: ops.multiply(x, x),
    "rsqrt": lambda x: ops.power(x, ops.constant(np.float32(-0.5))),
}
_BINARY = {
    "add": ops.add,
    "subtract": ops.subtract,
    "multiply": ops.multiply,
    "divide": ops.divide,
    "maximum": ops.maximum,
    "minimum": ops.minimum,
    "elementwise_pow": ops.power,
    "logical_and": ops.logical_and,
    "logical_or": ops.logical_or,
    "bitwise_and": ops.logical_and,
    "bitwise_or": ops.logical_or,
    "equal": ops.equal,
    "not_equal": ops.not_equal,
    "greater_than": ops.greater,
    "greater_equal": ops.greater_equal,
    "less_than": ops.less,
    "less_equal": ops.less_equal,
}


@_translates(*_UNARY)
def _unary(t: Translator, op: Operation) -> list:
    return [_UNARY[op.kind.removeprefix("pd_op.")](t.node(op, 0))]


@_translates(*_BINARY)
def _binary(t: Translator, op: Operation) -> list:
    left, right = t.node(op, 0), t.node(op, 1)
    if left.get_element_type() != right.get_element_type():  # a Python number and a tensor
        right = ops.convert(right, left.get_element_type()).output(0)
    return [_BINARY[op.kind.removeprefix("pd_op.")](left, right)]


@_translates("scale")
def _scale(t: Translator, op: Operation) -> list:
    x, dtype = t.node(op, 0), t.dtype(op)
    factor, bias = t.array(op, 1).astype(dtype).reshape(()), np.asarray(op.attributes["bias"], dtype)
    if not op.attributes["bias_after_scale"]:
        bias = (bias * factor).astype(dtype)
    if factor != 1:
        x = ops.multiply(x, ops.constant(factor))
    return [ops.add(x, ops.constant(bias)) if bias != 0 else x]


@_translates("pow")
def _pow(t: Translator, op: Operation) -> list:
    return [ops.power(t.node(op, 0), ops.constant(np.asarray(op.attributes["y"], t.dtype(op))))]


@_translates("leaky_relu")
def _leaky_relu(t: Translator, op: Operation) -> list:
    return [ops.prelu(t.node(op, 0), ops.constant(np.asarray([op.attributes["negative_slope"]], t.dtype(op))))]


@_translates("clip")
def _clip(t: Translator, op: Operation) -> list:
    return [ops.clamp(t.node(op, 0), t.array(op, 1).item(), t.array(op, 2).item())]


@_translates("cast")
def _cast(t: Translator, op: Operation) -> list:
    return [ops.convert(t.node(op, 0), ov.Type(t.dtype(op)))]


@_translates("where")
def _where(t: Translator, op: Operation) -> list:
    return [ops.select(*(t.node(op, n) for n in range(3)))]


@_translates("gelu")
def _gelu(t: Translator, op: Operation) -> list:
    return [ops.gelu(t.node(op, 0), "tanh" if op.attributes["approximate"] else "erf")]


@_translates("softmax", "log_softmax")
def _softmax(t: Translator, op: Operation) -> list:
    x = t.node(op, 0)
    softmax = ops.log_softmax if "log" in op.kind else ops.softmax
    return [softmax(x, op.attributes["axis"] % len(x.get_partial_shape()))]


@_translates("dropout")
def _dropout(t: Translator, op: Operation) -> list:  # programs are for inference
    return [t.node(op, 0), None]


# -- products ---------------------------------------------------------------------------------------------------


@_translates("matmul")
def _matmul(t: Translator, op: Operation) -> list:
    attention = t.as_attention(op)
    if attention is not None:
        return [attention]
    return [ops.matmul(t.node(op, 0), t.node(op, 1), op.attributes["transpose_x"], op.attributes["transpose_y"])]


@_translates("conv2d", "depthwise_conv2d")
def _conv2d(t: Translator, op: Operation) -> list:
    x, weight, groups = t.node(op, 0), t.node(op, 1), op.attributes["groups"]
    strides, dilations = op.attributes["strides"], op.attributes["dilations"]
    begin, end, auto = _paddings(op)
    if groups == 1:
        return [ops.convolution(x, weight, strides, begin, end, dilations, auto)]
    out, per_group, *kernel = t.shape_of_input(op, 1)
    weight = t.reshaped(weight, [groups, out // groups, per_group, *kernel])
    return [ops.group_convolution(x, weight, strides, begin, end, dilations, auto)]


@_translates("conv2d_transpose")
def _conv2d_transpose(t: Translator, op: Operation) -> list:
    begin, end, auto = _paddings(op)
    size = ops.constant(np.asarray(t.shape(op)[2:], np.int64))
    a = op.attributes
    if a["groups"] != 1:
        t.reject("conv2d_transpose in groups")
    return [
        ops.convolution_backprop_data(
            t.node(op, 0), t.node(op, 1), a["strides"], size, begin, end, a["dilations"], auto, [0, 0]
        )
    ]


def _paddings(op: Operation) -> tuple[list[int], list[int], str]:
    """Return (begin, end, auto_pad) of [height, width] or [top, bottom, left, right]."""
    padding = op.attributes["paddings"]
    automatic = {"EXPLICIT": "explicit", "SAME": "same_upper", "VALID": "valid"}[op.attributes["padding_algorithm"]]
    if len(padding) == 2:
        return padding, padding, automatic
    return padding[0::2], padding[1::2], automatic


# -- norms and sums ---------------------------------------------------------------------------------------------


@_translates("group_norm")
def _group_norm(t: Translator, op: Operation) -> list:
    if op.attributes["data_format"] != "NCHW":
        t.reject("group_norm with channels last")
    shape, groups = t.shape_of_input(op, 0), op.attributes["groups"]
    grouped = t.reshaped(t.node(op, 0), [shape[0], groups, -1])
    y = ops.mvn(grouped, ops.constant(np.asarray([2], np.int64)), True, op.attributes["epsilon"], "inside_sqrt")
    y, affine_shape = t.reshaped(y, shape), [1, shape[1], *[1] * (len(shape) - 2)]
    for n, combine in ((1, ops.multiply), (2, ops.add)):
        if op.inputs[n] is not None:
            y = combine(y, t.reshaped(t.node(op, n), affine_shape))
    return [y, None, None]


@_translates("layer_norm")
def _layer_norm(t: Translator, op: Operation) -> list:
    x, first = t.node(op, 0), op.attributes["begin_norm_axis"]
    shape = t.shape_of_input(op, 0)
    axes = ops.constant(np.arange(first, len(shape)))
    y = ops.mvn(x, axes, True, op.attributes["epsilon"], "inside_sqrt")
    for n, combine in ((1, ops.multiply), (2, ops.add)):
        if op.inputs[n] is not None:
            y = combine(y, t.reshaped(t.node(op, n), shape[first:]))
    return [y, None, None]


_REDUCTIONS = {"mean": ops.reduce_mean, "sum": ops.reduce_sum, "max": ops.reduce_max, "min": ops.reduce_min}


@_translates(*_REDUCTIONS)
def _reduce(t: Translator, op: Operation) -> list:
    reduce = _REDUCTIONS[op.kind.removeprefix("pd_op.")]
    return [reduce(t.node(op, 0), _axes(t, op, t.array(op, 1).tolist()), op.attributes["keepdim"])]


@_translates("p_norm")
def _p_norm(t: Translator, op: Operation) -> list:
    reduce = {1.0: ops.reduce_l1, 2.0: ops.reduce_l2}.get(op.attributes["porder"])
    if reduce is None:
        t.reject(f"p_norm of order {op.attributes['porder']}")
        reduce = ops.reduce_l2
    return [reduce(t.node(op, 0), _axes(t, op, [op.attributes["axis"]]), op.attributes["keepdim"])]


def _axes(t: Translator, op: Operation, axes: Sequence[int]) -> ov.Node:
    rank = len(t.shape_of_input(op, 0))
    return ops.constant(np.asarray([axis % rank for axis in axes] or range(rank), np.int64))


@_translates("cumsum")
def _cumsum(t: Translator, op: Operation) -> list:
    x = t.node(op, 0)
    if op.attributes["flatten"]:
        x = t.reshaped(x, [-1])
    axis = ops.constant(np.int64(t.array(op, 1).item()))
    return [ops.cum_sum(x, axis, op.attributes["exclusive"], op.attributes["reverse"])]


@_translates("argmax")
def _argmax(t: Translator, op: Operation) -> list:
    axis = t.array(op, 1).item() % len(t.shape_of_input(op, 0))
    one = ops.constant(np.int64(1))
    found = ops.topk(t.node(op, 0), one, axis, "max", "value", index_element_type="i64", stable=True)  # ties: the first
    return [t.reshaped(found.output(1), t.shape(op))]


@_translates("pool2d")
def _pool2d(t: Translator, op: Operation) -> list:
    a, kernel = op.attributes, t.array(op, 1).tolist()
    if a["global_pooling"] or a["adaptive"]:
        t.reject("global or adaptive pool2d")
    begin, end, auto = _paddings(op)
    rounding = "ceil" if a["ceil_mode"] else "floor"
    if a["pooling_type"] == "avg":
        return [ops.avg_pool(t.node(op, 0), a["strides"], begin, end, kernel, a["exclusive"], rounding, auto)]
    return [ops.max_pool(t.node(op, 0), a["strides"], [1, 1], begin, end, kernel, rounding, auto).output(0)]


# -- reshaping and indexing -------------------------------------------------------------------------------------


@_translates("reshape", "flatten", "unsqueeze", "squeeze", "view_shape")
def _reshape(t: Translator, op: Operation) -> list:
    return [t.reshaped(t.node(op, 0), t.shape(op)), *[None] * (len(op.outputs) - 1)]


@_translates("transpose")
def _transpose(t: Translator, op: Operation) -> list:
    return [ops.transpose(t.node(op, 0), ops.constant(np.asarray(op.attributes["perm"], np.int64)))]


@_translates("expand", "expand_as")
def _expand(t: Translator, op: Operation) -> list:
    return [ops.broadcast(t.node(op, 0), ops.constant(np.asarray(t.shape(op), np.int64)))]


@_translates("tile")
def _tile(t: Translator, op: Operation) -> list:
    return [ops.tile(t.node(op, 0), ops.constant(t.array(op, 1).astype(np.int64)))]


@_translates("repeat_interleave")
def _repeat_interleave(t: Translator, op: Operation) -> list:
    axis, size = op.attributes["axis"], t.shape_of_input(op, 0)
    index = np.repeat(np.arange(size[axis]), op.attributes["repeats"])
    return [ops.gather(t.node(op, 0), ops.constant(index), ops.constant(np.int64(axis)))]


@_translates("builtin.combine")
def _combine(t: Translator, op: Operation) -> list:
    return [[t.node(op, n) for n in range(len(op.inputs))]]


@_translates("builtin.split")
def _split_list(t: Translator, op: Operation) -> list:
    return t.values[op.inputs[0]]


@_translates("broadcast_tensors")
def _broadcast_tensors(t: Translator, op: Operation) -> list:
    parts = t.values[op.inputs[0]]
    shape = np.broadcast_shapes(*(tuple(part.get_shape()) for part in parts))
    return [[ops.broadcast(part, ops.constant(np.asarray(shape, np.int64))).output(0) for part in parts]]


@_translates("concat")
def _concat(t: Translator, op: Operation) -> list:
    return [ops.concat(t.values[op.inputs[0]], t.array(op, 1).item())]


@_translates("stack")
def _stack(t: Translator, op: Operation) -> list:
    axis, shape = op.attributes["axis"], t.shape(op)
    unit_shape = [1 if n == axis % len(shape) else size for n, size in enumerate(shape)]
    return [ops.concat([t.reshaped(part, unit_shape) for part in t.values[op.inputs[0]]], axis)]


@_translates("split_with_num")
def _split_with_num(t: Translator, op: Operation) -> list:
    parts = ops.split(t.node(op, 0), ops.constant(np.int64(t.array(op, 1).item())), op.attributes["num"])
    return [parts.outputs()]


@_translates("split")
def _split(t: Translator, op: Operation) -> list:
    sections, axis = t.array(op, 1).astype(np.int64), t.array(op, 2).item()
    return [ops.variadic_split(t.node(op, 0), ops.constant(np.int64(axis)), ops.constant(sections)).outputs()]


@_translates("unbind")
def _unbind(t: Translator, op: Operation) -> list:
    axis, shape = op.attributes["axis"], t.shape_of_input(op, 0)
    parts = ops.split(t.node(op, 0), ops.constant(np.int64(axis)), shape[axis]).outputs()
    del shape[axis]
    return [[t.reshaped(part, shape) for part in parts]]


@_translates("slice")
def _slice(t: Translator, op: Operation) -> list:
    return [_sliced(t, op, np.ones(len(op.attributes["axes"]), np.int64))]


@_translates("strided_slice")
def _strided_slice(t: Translator, op: Operation) -> list:
    return [_sliced(t, op, t.array(op, 3).astype(np.int64))]


def _sliced(t: Translator, op: Operation, steps: np.ndarray) -> ov.Output:
    starts, stops = (t.array(op, n).astype(np.int64) for n in (1, 2))
    axes = np.asarray(op.attributes["axes"], np.int64)
    x = ops.slice(t.node(op, 0), *(ops.constant(part) for part in (starts, stops, steps, axes)))
    return t.reshaped(x, t.shape(op))


@_translates("pad")
def _pad(t: Translator, op: Operation) -> list:
    around = np.asarray(op.attributes["paddings"], np.int64)
    return [_padded(t, op, around[0::2], around[1::2], "constant", t.array(op, 1).item())]


@_translates("pad3d")
def _pad3d(t: Translator, op: Operation) -> list:
    around, a = t.array(op, 1).astype(np.int64), op.attributes  # left, right, top, bottom, front, back
    if a["data_format"] != "NCDHW" or a["mode"] not in ("constant", "reflect", "replicate"):
        t.reject(f"pad3d {a['data_format']} {a['mode']}")
    begin, end = (np.asarray([0, 0, *around[side::2][::-1]]) for side in (0, 1))
    mode = {"replicate": "edge"}.get(a["mode"], a["mode"])
    return [_padded(t, op, begin, end, mode, a["pad_value"])]


def _padded(t: Translator, op: Operation, begin: np.ndarray, end: np.ndarray, mode: str, value: float) -> ov.Node:
    fill = ops.constant(np.asarray(value, t.dtype(op)))
    return ops.pad(t.node(op, 0), ops.constant(begin), ops.constant(end), mode, fill)


@_translates("nearest_interp")
def _nearest(t: Translator, op: Operation) -> list:
    if op.attributes["align_corners"]:
        t.reject("nearest_interp with align_corners")
    return [_interpolated(t, op, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")]


@_translates("bilinear_interp")
def _bilinear(t: Translator, op: Operation) -> list:
    a = op.attributes
    transformation = "align_corners" if a["align_corners"] else "half_pixel" if a["align_mode"] == 0 else "asymmetric"
    return [_interpolated(t, op, mode="linear_onnx", coordinate_transformation_mode=transformation)]


@_translates("bicubic_interp")
def _bicubic(t: Translator, op: Operation) -> list:
    transformation = "align_corners" if op.attributes["align_corners"] else "half_pixel"
    # the coefficient of the kernel is Paddle's and PyTorch's
    return [_interpolated(t, op, mode="cubic", coordinate_transformation_mode=transformation, cube_coeff=-0.75)]


def _interpolated(t: Translator, op: Operation, **settings: str | float) -> ov.Node:
    size = ops.constant(np.asarray(t.shape(op)[2:], np.int64))
    return ops.interpolate(
        t.node(op, 0), size, shape_calculation_mode="sizes", axes=ops.constant(np.asarray([2, 3], np.int64)), **settings
    )


@_translates("embedding")
def _embedding(t: Translator, op: Operation) -> list:
    return [ops.gather(t.node(op, 1), t.node(op, 0), ops.constant(np.int64(0)))]


@_translates("gather")
def _gather(t: Translator, op: Operation) -> list:
    return [ops.gather(t.node(op, 0), t.node(op, 1), ops.constant(np.int64(t.array(op, 2).item())))]


@_translates("index_select")
def _index_select(t: Translator, op: Operation) -> list:
    return [ops.gather(t.node(op, 0), t.node(op, 1), ops.constant(np.int64(op.attributes["axis"])))]


@_translates("gather_nd")
def _gather_nd(t: Translator, op: Operation) -> list:
    return [ops.gather_nd(t.node(op, 0), t.node(op, 1))]
