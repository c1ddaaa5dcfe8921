"""Weight decomposition and biases of LoRA: equal to PEFT's, alone and with other adapters; compiled; trained."""

import numpy as np
import paddle
import pytest
import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters import (
    DoRA,
    LoRA,
    delta_from_tensors,
    disable_adapters,
    eject,
    enable_adapters,
    fuse,
    get_adapters,
    inject,
    scaled,
    set_adapters,
    unfuse,
)
from ppdiffusers.runtime.compiling import Program, compile
from tests.models.adapters.support import activate, assert_same, layer_names, ours, outputs, peft_layers, twin_weights
from tests.support.parity import rng_for

PARTS = {
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_B.bias": "bias",
    "lora_magnitude_vector": "magnitude",
}
# name -> rank, alpha, settings of PEFT
ADAPTERS = {
    "first": (3, 2.0, {"use_dora": True}),
    "second": (3, 4.0, {"use_dora": True}),
    "plain": (2, 3.0, {}),
    "biased": (2, 1.0, {"lora_bias": True}),
}
WITH_BIAS = [path for path in layer_names() if path != "linears.1"]


def random_state(module, name):
    """PEFT's state dict of an adapter with random values; magnitudes are 0.5 to 2 times the norms."""
    state = get_peft_model_state_dict(module, adapter_name=name)
    values = {key: rng_for(f"{name} {key}").standard_normal(tuple(t.shape)) / 3 for key, t in state.items()}
    return {
        key: torch.tensor(tensor.numpy() * 2 ** (3 * values[key]) if "magnitude" in key else values[key]).float()
        for key, tensor in state.items()
    }


def add(network, module, name):
    rank, alpha, settings = ADAPTERS[name]
    targets = WITH_BIAS if "lora_bias" in settings else layer_names()
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, **settings), module, name)
    state = random_state(module, name)
    set_peft_model_state_dict(module, state, name)
    layers, deltas = dict(network.named_sublayers()), {}
    for path in targets:
        own = {key.removeprefix(f"{path}."): t for key, t in state.items() if key.startswith(f"{path}.")}
        parts = {PARTS[key]: paddle.to_tensor(tensor.numpy()) for key, tensor in own.items()}
        deltas[path] = delta_from_tensors(parts, alpha, layers[path])
    inject(network, name, deltas)


def twin(*names):
    network = ours()
    module = twin_weights(network)
    for name in names:
        add(network, module, name)
    module.eval()
    return network, module


def activate_both(network, module, weights):
    activate(module, weights)
    set_adapters(network, list(weights), list(weights.values()))


MIXTURES = [
    {"first": 1.0},
    {"first": 0.6},
    {"first": 0.0},
    {"biased": 0.7},
    {"first": 0.7, "second": -0.4},
    {"second": -0.4, "first": 0.7},
    {"plain": 0.5, "first": 0.8, "biased": 0.9},
    {"biased": 0.9, "second": 0.3, "plain": 1.2, "first": 0.8},
]


def test_outputs_equal_peft():
    network, module = twin(*ADAPTERS)
    assert all(isinstance(delta, DoRA) for delta in get_adapters(network)["first"].values())
    for weights in MIXTURES:
        activate_both(network, module, weights)
        assert_same(network, module)
    activate_both(network, module, {"second": 0.4, "plain": 1.0, "first": 0.7})
    with scaled(network, 0.25):
        for layer in peft_layers(module):
            layer.scale_layer(0.25)
        assert_same(network, module)
    disable_adapters(network)
    assert np.array_equal(outputs(network), outputs(ours()))
    enable_adapters(network)
    eject(network)
    assert np.array_equal(outputs(network), outputs(ours()))


@pytest.mark.parametrize("weights", MIXTURES, ids=lambda weights: " ".join(weights))
def test_fused_equals_unfused_and_bits_are_restored(weights):
    """PEFT's fused weights are its own outputs, except after biases, which its decomposition does not rescale."""
    network, module = twin(*ADAPTERS)
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    activate_both(network, module, weights)
    expected = outputs(network)
    fuse(network)
    assert np.abs(outputs(network) - expected).max() <= 1e-5 * np.abs(expected).max()
    if "biased" not in weights:
        for layer in peft_layers(module):
            layer.merge()
        assert_same(network, module)
    unfuse(network)
    assert all(np.array_equal(value.numpy(), before[key]) for key, value in network.state_dict().items())
    assert np.array_equal(outputs(network), expected)


def test_fused_one_after_the_other_and_bfloat16():
    network, module = twin("first", "plain", "second")
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    activate_both(network, module, {"first": 0.7, "plain": 0.5, "second": 0.4})
    for name in ("first", "plain", "second"):
        fuse(network, [name])
    assert_same(network, module)
    unfuse(network)
    assert all(np.array_equal(value.numpy(), before[key]) for key, value in network.state_dict().items())
    network.to(dtype="bfloat16")
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    fuse(network)
    assert any(not np.array_equal(value.numpy(), before[key]) for key, value in network.state_dict().items())
    unfuse(network)
    assert all(np.array_equal(value.numpy(), before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("backend", ["openvino", "onednn"])
def test_compiled(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("PPDIFFUSERS_CACHE", str(tmp_path))
    made, original = [], Program.__init__
    monkeypatch.setattr(Program, "__init__", lambda self, *args: (original(self, *args), made.append(self))[0])
    names = ("biased", "first", "second")
    network, module = twin(*names)
    compile(network, backend=backend)
    for weights in ({"biased": 1.0, "first": 0.6, "second": 0.5}, {"first": 0.0}, {"second": 0.3, "first": -0.6}):
        activate_both(network, module, weights)
        assert_same(network, module)
    disable_adapters(network)
    found, expected = outputs(network), outputs(ours())
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert len(made) == 1, "weights, order and activity are inputs"


def test_padded_matrices_and_training():
    network, module = twin("first")
    expected = outputs(network)
    deltas = {path: delta.padded(6) for path, delta in get_adapters(network)["first"].items()}
    assert {delta.rank for delta in deltas.values()} == {6}
    eject(network)
    inject(network, "first", deltas)
    assert np.allclose(outputs(network), expected, rtol=1e-5, atol=1e-6)
    magnitude = deltas["convs.0"].magnitude
    magnitude.stop_gradient = False
    network(paddle.ones([1, 5, 8, 6])).sum().backward()
    assert float(magnitude.grad.abs().sum()) > 0


def test_errors():
    network = ours()
    linear, last = network.linears
    down, up = paddle.ones([2, 5]), paddle.ones([7, 2])
    with pytest.raises(InputError, match="bias, down, magnitude, up"):
        parts = {"down": down, "up": up, "magnitude": paddle.ones([7]), "bias": paddle.ones([7])}
        delta_from_tensors(parts, None, linear)
    with pytest.raises(InputError, match=r"dora_scale \[5, 1\], expected \[7, 1, ...\] or \[1, 5, ...\]"):
        delta_from_tensors({"down": down, "up": up, "dora_scale": paddle.ones([5, 1])}, None, linear)
    wrong = {"down": down, "up": up, "magnitude": paddle.ones([6])}
    with pytest.raises(InputError, match=r"linears.0: magnitude \[6\], expected \[7\]"):
        inject(network, "style", {"linears.0": delta_from_tensors(wrong, None, linear)})
    with pytest.raises(InputError, match=r"linears.0: bias \[5\], expected \[7\]"):
        inject(network, "style", {"linears.0": LoRA(down, up, bias=paddle.ones([5]))})
    inject(network, "style", {"linears.1": LoRA(paddle.ones([2, 7]), paddle.ones([4, 2]), bias=paddle.ones([4]))})
    with pytest.raises(InputError, match="nothing was fused(.|\n)*linears.1: style"):
        fuse(network)
    assert last.fused_adapters == ()
