"""Transposed and other keys, for every kind of layer."""

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.convert.layout import linear_weight_keys, to_paddle_layout, to_torch_layout
from ppdiffusers.core.tensors import LazyTensor


class Scaled(nn.Linear):
    """A subclass of Linear."""


class Everything(nn.Layer):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.subclass = Scaled(3, 4)
        self.tied = nn.Linear(3, 3)
        self.tied.weight = self.linear.weight
        self.whole = self.linear
        self.embedding = nn.Embedding(3, 3)
        self.convolution = nn.Conv2D(3, 3, 1)
        self.norm = nn.LayerNorm(3)
        self.weight = self.create_parameter([3, 3])
        self.nested = nn.Sequential(nn.LayerList([nn.Linear(3, 5)]), nn.LayerDict({"a": nn.Linear(5, 3)}))
        self.register_buffer("table", paddle.ones([3, 3]))


def test_linear_weights_including_tied_and_shared_ones():
    assert linear_weight_keys(Everything()) == {
        "linear.weight",
        "subclass.weight",
        "tied.weight",
        "whole.weight",
        "nested.0.0.weight",
        "nested.1.a.weight",
    }


def test_there_and_back():
    layer = Everything()
    state = {key: LazyTensor.of(value.numpy()) for key, value in layer.state_dict().items()}
    there = to_torch_layout(state, layer)
    back = to_paddle_layout(there, layer)
    transposed = linear_weight_keys(layer)
    for key, tensor in state.items():
        expected = tensor.read().T if key in transposed else tensor.read()
        assert np.array_equal(there[key].read(), expected), key
        assert there[key].shape == expected.shape
        assert back[key].read().tobytes() == tensor.read().tobytes()


def test_tensors_that_are_not_matrices_are_kept():
    odd = {"linear.weight": LazyTensor.of(np.zeros((3, 3, 1, 1))), "else": LazyTensor.of(np.zeros((2, 3)))}
    result = to_paddle_layout(odd, Everything())
    assert {key: tensor.shape for key, tensor in result.items()} == {"linear.weight": (3, 3, 1, 1), "else": (2, 3)}
