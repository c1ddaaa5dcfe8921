"""LitEma averages as latent-diffusion's: decay min(d, (1 + n) / (10 + n)), float32, frozen weights excluded."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.ema import LitEma


def network() -> nn.Layer:
    paddle.seed(0)
    made = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    made[1].bias.stop_gradient = True
    return made


def randomize(layer: nn.Layer, seed: int) -> None:
    random = np.random.default_rng(seed)
    for parameter in layer.parameters():
        parameter.set_value(random.standard_normal(parameter.shape).astype("float32"))


@pytest.mark.parametrize("counted", [True, False])
def test_averages(counted):
    layer = network()
    ema = LitEma(layer, decay=0.4, use_num_upates=counted)
    expected = layer[0].weight.numpy().astype(np.float64)
    for step in range(1, 8):
        randomize(layer, step)
        ema(layer)
        decay = min(0.4, (1 + step) / (10 + step)) if counted else 0.4
        expected = decay * expected + (1 - decay) * layer[0].weight.numpy()
    np.testing.assert_allclose(ema.state_dict()["0weight"].numpy(), expected, rtol=1e-5)
    assert sorted(ema.state_dict()) == ["0bias", "0weight", "1weight"]


def test_copy_store_restore():
    layer = network()
    ema = LitEma(layer)
    start = layer[0].weight.numpy()
    randomize(layer, 1)
    changed = layer[0].weight.numpy()
    ema.store(layer.parameters())
    ema.copy_to(layer)
    assert np.array_equal(layer[0].weight.numpy(), start)
    ema.restore(layer.parameters())
    assert np.array_equal(layer[0].weight.numpy(), changed)


def test_wrong_arguments():
    with pytest.raises(InputError, match="decay"):
        LitEma(network(), decay=1.5)
    with pytest.raises(InputError, match="no average"):
        LitEma(network())(nn.LSTM(2, 2))
