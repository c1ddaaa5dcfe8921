"""Seeds, signal-to-noise ratios, parameters, containers."""

import random

import diffusers
import numpy as np
import paddle
import pytest
import torch
from diffusers.training_utils import compute_snr as original_snr
from paddle import nn

from ppdiffusers import DDPMScheduler
from ppdiffusers.training_utils import (
    cast_training_params,
    compute_snr,
    freeze_model,
    freeze_params,
    main_process_first,
    set_seed,
    unfreeze_model,
    unwrap_model,
)


@pytest.fixture
def restored_seeds():
    """The global streams, put back after the test."""
    states = random.getstate(), np.random.get_state(), paddle.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    paddle.set_rng_state(states[2])


def test_set_seed(restored_seeds):
    def numbers():
        return random.random(), np.random.rand(), float(paddle.rand([1]))

    set_seed(3)
    first = numbers()
    set_seed(3)
    assert numbers() == first
    set_seed(None)
    assert numbers() != first


@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_compute_snr(shape):
    settings = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    steps = np.array([0, 1, 250, 500, 998, 999]).reshape(shape)
    ours = compute_snr(DDPMScheduler(**settings), paddle.to_tensor(steps))
    theirs = original_snr(diffusers.DDPMScheduler(**settings), torch.tensor(steps))
    assert tuple(ours.shape) == shape
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


def test_cast_training_params_casts_only_trained_parameters():
    layer = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    layer.to(dtype="bfloat16")
    freeze_params(layer[0].parameters())
    weight = layer[1].weight
    cast_training_params(layer)
    assert layer[1].weight is weight and weight.dtype == paddle.float32 and not weight.stop_gradient
    assert layer[0].weight.dtype == paddle.bfloat16


def test_cast_parameters_can_be_trained():
    layer = nn.Linear(3, 2)
    layer.to(dtype="float64")
    cast_training_params([layer])
    optimizer = paddle.optimizer.AdamW(learning_rate=0.1, parameters=layer.parameters())
    before = layer.weight.numpy().copy()
    layer(paddle.ones([1, 3])).sum().backward()
    optimizer.step()
    assert layer.weight.grad.dtype == paddle.float32 and not np.array_equal(before, layer.weight.numpy())


def test_freeze_and_unfreeze():
    layer = nn.Linear(3, 2)
    freeze_model(layer)
    assert all(parameter.stop_gradient for parameter in layer.parameters())
    unfreeze_model(layer)
    assert not any(parameter.stop_gradient for parameter in layer.parameters())


def test_unwrap_model():
    class Container(nn.Layer):
        def __init__(self, inner):
            super().__init__()
            self._layers = inner

    layer = nn.Linear(3, 2)
    assert unwrap_model(Container(Container(layer))) is layer
    assert unwrap_model(layer) is layer


def test_main_process_first_with_one_process():
    with main_process_first(desc="download"):
        pass
