"""A small network in both libraries, and the adapters of PEFT on its twin."""

import numpy as np
import paddle
import torch
from peft.tuners.lora import LoraLayer

from ppdiffusers.models.blocks.conv import Conv2D
from tests.support.parity import rng_for

CONV_SHAPES = [(5, 6, 3, 1, 1), (6, 6, 3, 2, 1), (6, 5, 1, 1, 0)]  # in, out, kernel, stride, padding


class Ours(paddle.nn.Layer):
    """Convolutions of both classes, then linear layers with and without bias."""

    def __init__(self):
        super().__init__()
        convs = [Conv2D(i, o, k, stride=s, padding=p) for i, o, k, s, p in CONV_SHAPES]
        convs[1] = paddle.nn.Conv2D(6, 6, 3, stride=2, padding=1)
        self.convs = paddle.nn.LayerList(convs)
        self.linears = paddle.nn.LayerList([paddle.nn.Linear(5, 7), paddle.nn.Linear(7, 4, bias_attr=False)])

    def forward(self, x):
        for conv in self.convs:
            x = paddle.nn.functional.silu(conv(x))
        x = x.flatten(2).transpose([0, 2, 1])
        for linear in self.linears:
            x = paddle.nn.functional.silu(linear(x))
        return x


class Theirs(torch.nn.Module):
    """The same network in PyTorch."""

    def __init__(self):
        super().__init__()
        self.convs = torch.nn.ModuleList(torch.nn.Conv2d(i, o, k, s, p) for i, o, k, s, p in CONV_SHAPES)
        self.linears = torch.nn.ModuleList([torch.nn.Linear(5, 7), torch.nn.Linear(7, 4, bias=False)])

    def forward(self, x):
        for conv in self.convs:
            x = torch.nn.functional.silu(conv(x))
        x = x.flatten(2).transpose(1, 2)
        for linear in self.linears:
            x = torch.nn.functional.silu(linear(x))
        return x


def ours() -> Ours:
    network = Ours()
    for name, parameter in network.named_parameters():
        parameter.set_value(rng_for(name).standard_normal(parameter.shape).astype("float32") / 3)
    network.eval()
    return network


def twin_weights(network: Ours) -> Theirs:
    """The network in PyTorch, with the same weights."""
    module = Theirs()
    state = {key: torch.tensor(value.numpy()) for key, value in network.state_dict().items()}
    module.load_state_dict({key: v.T if "linears" in key and v.ndim == 2 else v for key, v in state.items()})
    return module.eval()


def layer_names() -> list[str]:
    return [path for path, layer in Theirs().named_modules() if hasattr(layer, "weight")]


def activate(module: torch.nn.Module, weights: dict[str, float]) -> None:
    for layer in module.modules():
        if isinstance(layer, LoraLayer):
            layer.set_adapter(list(weights))
            for name, weight in weights.items():
                layer.set_scale(name, weight)


def peft_layers(module: torch.nn.Module) -> list[LoraLayer]:
    return [layer for layer in module.modules() if isinstance(layer, LoraLayer)]


def outputs(network, module=None):
    x = rng_for("x").standard_normal((2, 5, 8, 6)).astype("float32")
    with paddle.no_grad(), torch.no_grad():
        found = network(paddle.to_tensor(x)).numpy()
        return found if module is None else (found, module(torch.tensor(x)).numpy())


def assert_same(network, module):
    found, expected = outputs(network, module)
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
