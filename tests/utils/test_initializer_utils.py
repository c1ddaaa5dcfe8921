"""Initializers give the distributions of `torch.nn.init`."""

import math

import numpy as np
import paddle
import pytest
import torch
from paddle import nn

from ppdiffusers import initializer
from ppdiffusers.core.errors import InputError


@pytest.fixture
def weight():
    return paddle.create_parameter([200, 100, 3, 3], "float32")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("normal_", {"mean": 1.0, "std": 0.5}),
        ("uniform_", {"a": -2.0, "b": 3.0}),
        ("xavier_uniform_", {"gain": 2.0}),
        ("xavier_normal_", {}),
        ("kaiming_uniform_", {"a": math.sqrt(5)}),
        ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}),
        ("constant_", {"value": 0.25}),
        ("ones_", {}),
        ("zeros_", {}),
    ],
)
def test_moments_are_those_of_torch(name, settings, weight):
    tensor = torch.empty(200, 100, 3, 3)
    arguments = {"val" if key == "value" else key: value for key, value in settings.items()}
    getattr(torch.nn.init, name)(tensor, **arguments)
    assert getattr(initializer, name)(weight, **settings) is weight
    ours = weight.numpy()
    np.testing.assert_allclose(ours.std(), float(tensor.std()), rtol=0.02)
    np.testing.assert_allclose(ours.mean(), float(tensor.mean()), atol=0.02)
    if "uniform" in name or "constant" in name:
        np.testing.assert_allclose([ours.min(), ours.max()], [float(tensor.min()), float(tensor.max())], rtol=1e-3)


def test_linear_weights_are_reversed():
    """Paddle's [in, out]: fan-in is the first size."""
    wide, tall = paddle.create_parameter([400, 50], "float32"), paddle.create_parameter([50, 400], "float32")
    initializer.kaiming_normal_(wide, nonlinearity="linear", reverse=True)
    initializer.kaiming_normal_(tall, nonlinearity="linear", reverse=False)
    np.testing.assert_allclose([wide.numpy().std(), tall.numpy().std()], [0.05, 0.05], rtol=0.05)


def test_reset_initialized_parameter():
    layer = nn.Sequential(nn.Conv2D(8, 16, 3), nn.Linear(16, 32), nn.Embedding(10, 400), nn.LayerNorm(7))
    for parameter in layer.parameters():
        initializer.constant_(parameter, 9.0)
    initializer.reset_initialized_parameter(layer)
    assert np.abs(layer[0].weight.numpy()).max() <= 1 / math.sqrt(72)
    assert np.abs(layer[1].bias.numpy()).max() <= 1 / math.sqrt(16)
    np.testing.assert_allclose(layer[2].weight.numpy().std(), 1.0, rtol=0.1)
    assert (layer[3].weight.numpy() == 1).all() and (layer[3].bias.numpy() == 0).all()


def test_errors_and_small_helpers():
    with pytest.raises(InputError, match="two dimensions"):
        initializer.xavier_normal_(paddle.create_parameter([3], "float32"))
    with pytest.raises(InputError, match="mode='fan'.*\n.*nonlinearity='swish'"):
        initializer.kaiming_normal_(paddle.create_parameter([3, 3], "float32"), mode="fan", nonlinearity="swish")
    assert initializer.bias_init_with_prob(0.5) == 0
    vector = paddle.create_parameter([3], "float32")
    assert initializer.vector_(vector, [1, 2, 3]).numpy().tolist() == [1, 2, 3]
