"""The dtypes of every library have one name."""

from typing import NamedTuple

import numpy as np
import paddle
import pytest
import torch

from ppdiffusers.core.errors import InputError
from ppdiffusers.utils.dtypes import as_dtype_name, computable


@pytest.mark.parametrize(
    "name", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]
)
def test_names(name):
    numpy_forms = [] if name == "bfloat16" else [np.dtype(name), np.dtype(name).type]
    forms = [name, f"paddle.{name}", f"torch.{name}", getattr(paddle, name), getattr(torch, name), *numpy_forms]
    forms.append(paddle.zeros([1], dtype=name).dtype)
    assert {as_dtype_name(form) for form in forms} == {name}


def test_short_names_and_python_types():
    assert [as_dtype_name(x) for x in ("fp16", "bf16", "half", "fp32", float, bool, int)] == [
        *("float16", "bfloat16", "float16", "float32", "float64", "bool", "int64")
    ]


@pytest.mark.parametrize("what", ["float8", "complex64", object, None, 3])
def test_unknown(what):
    with pytest.raises(InputError, match="not a dtype"):
        as_dtype_name(what)


class Pair(NamedTuple):
    first: object
    second: object


def test_half_precision_in_containers_is_computed_in_float32_on_a_cpu():
    half = paddle.to_tensor([1.5], dtype="bfloat16", place=paddle.CPUPlace())
    found = computable({"a": [half, None], "b": (half, 3), "c": Pair(half, "x")})
    assert [found["a"][0].dtype, found["b"][0].dtype, found["c"].first.dtype] == [paddle.float32] * 3
    assert found["a"][1] is None and found["b"][1] == 3 and isinstance(found["c"], Pair) and found["c"].second == "x"
