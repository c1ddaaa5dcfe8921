"""Adapters: injected LoRA equals PEFT's on a torch twin, and leaves the network's weights and files unchanged."""

import copy
import threading

import numpy as np
import paddle
import pytest
import torch
from diffusers.utils import peft_utils
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.numpy import load_file

from ppdiffusers.core.errors import InputError
from ppdiffusers.models.adapters import (
    AdapterLayer,
    LoRA,
    LoRAConv2D,
    LoRALinear,
    LoRAPaddleConv2D,
    create_lora,
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
from ppdiffusers.models.adapters.call_scale import (
    adjust_lora_scale_text_encoder,
    scale_lora_layers,
    unscale_lora_layers,
)
from ppdiffusers.models.adapters.convolution import convolve_by_products
from tests.models.adapters.support import (
    Ours,
    Theirs,
    activate,
    assert_same,
    layer_names,
    ours,
    outputs,
    peft_layers,
    twin_weights,
)
from tests.runtime.support import tiny_unet, unet_inputs
from tests.support.parity import rng_for

ADAPTERS = {"style": (4, 4.0), "detail": (3, 8.0)}  # name -> rank, alpha


def matrices(path: str, name: str, layer: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    rank, rng = ADAPTERS[name][0], rng_for(f"{path} {name}")
    outputs, inputs, *kernel = layer.weight.shape
    down = rng.standard_normal((rank, inputs, *kernel)).astype("float32") / 3
    return down, rng.standard_normal((outputs, rank, *(1 for _ in kernel))).astype("float32") / 3


def deltas(name: str) -> dict[str, LoRA]:
    layers = {path: layer for path, layer in Theirs().named_modules() if hasattr(layer, "weight")}
    both = {path: map(paddle.to_tensor, matrices(path, name, layer)) for path, layer in layers.items()}
    return {path: LoRA(down, up, ADAPTERS[name][1]) for path, (down, up) in both.items()}


def with_adapters() -> Ours:
    network = ours()
    for name in ADAPTERS:
        inject(network, name, deltas(name))
    return network


@pytest.fixture
def twin():
    """Our network and PEFT's with the same weights and both adapters."""
    network = ours()
    module, layers = twin_weights(network), layer_names()
    for name, (rank, alpha) in ADAPTERS.items():
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers)
        inject_adapter_in_model(config, module, name)
        inject(network, name, deltas(name))
    for path, layer in module.named_modules():
        if isinstance(layer, LoraLayer):
            for name in ADAPTERS:
                down, up = matrices(path, name, layer.base_layer)
                layer.lora_A[name].weight.data = torch.tensor(down)
                layer.lora_B[name].weight.data = torch.tensor(up)
    module.eval()
    return network, module


WEIGHTS = [{"style": 1.0}, {"detail": 0.6}, {"style": 0.7, "detail": -1.3}]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_outputs_equal_peft(weights, twin):
    network, module = twin
    activate(module, weights)
    set_adapters(network, list(weights), list(weights.values()))
    assert_same(network, module)
    set_adapters(network, list(ADAPTERS))
    activate(module, dict.fromkeys(ADAPTERS, 1.0))
    assert_same(network, module)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_scale_of_a_call_equals_peft(weights, twin):
    network, module = twin
    activate(module, weights)
    set_adapters(network, list(weights), list(weights.values()))
    before = outputs(network)
    for layer in peft_layers(module):
        layer.scale_layer(0.3)
    with scaled(network, 0.6), scaled(network, 0.5):
        assert_same(network, module)
    assert np.array_equal(outputs(network), before)


@pytest.mark.parametrize("scale", [0.3, 0, 1])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_scale_lora_layers_equals_diffusers(weights, scale, twin):
    network, module = twin
    activate(module, weights)
    set_adapters(network, list(weights), list(weights.values()))
    for ours_of, theirs_of in (
        (scale_lora_layers, peft_utils.scale_lora_layers),
        (unscale_lora_layers, peft_utils.unscale_lora_layers),
    ):
        ours_of(network, scale)
        theirs_of(module, scale)
        assert_same(network, module)


def test_adjust_lora_scale(twin):
    network, module = twin
    activate(module, {"style": 0.4})
    set_adapters(network, ["style"], [0.9])
    adjust_lora_scale_text_encoder(network, 0.4)
    assert_same(network, module)


def test_disabled_adapters_equal_peft(twin):
    network, module = twin
    activate(module, {"style": 0.7, "detail": 0.5})
    set_adapters(network, ["style", "detail"], [0.7, 0.5])
    disable_adapters(network)
    assert np.array_equal(outputs(network), outputs(ours()))
    enable_adapters(network)
    assert_same(network, module)


@pytest.mark.parametrize("names", [None, ["detail"]])
def test_fused_adapters_equal_peft_and_unfuse_is_exact(names, twin):
    network, module = twin
    activate(module, {"style": 0.7, "detail": 0.5})
    set_adapters(network, ["style", "detail"], [0.7, 0.5])
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    unfused = outputs(network)
    for layer in peft_layers(module):
        layer.merge(adapter_names=names)
    fuse(network, names)
    assert_same(network, module)
    with scaled(network, 0.1):  # has no effect on fused adapters
        assert_same(network, module)
    for layer in peft_layers(module):
        layer.unmerge()
    unfuse(network)
    for key, value in network.state_dict().items():
        assert np.array_equal(value.numpy(), before[key]), key
    assert np.array_equal(outputs(network), unfused)


def test_fuse_with_a_scale_and_one_adapter_after_the_other(twin):
    network, module = twin
    activate(module, {"style": 0.7, "detail": 0.5})
    set_adapters(network, ["style", "detail"], [0.7, 0.5])
    for layer in peft_layers(module):
        layer.scale_layer(0.25)
        layer.merge()
    fuse(network, ["style"], scale=0.25)
    fuse(network, scale=0.25)  # "style" is not fused again
    assert_same(network, module)
    eject(network, "style")  # unfuses
    for layer in peft_layers(module):
        layer.unmerge()
        layer.unscale_layer()
        layer.set_adapter("detail")
        layer.set_scale("detail", 0.5)
    assert_same(network, module)


def test_bfloat16_weights_are_restored_exactly():
    network = with_adapters()
    network.to(dtype="bfloat16")
    assert all(d.down.dtype == paddle.bfloat16 for d in get_adapters(network)["style"].values())
    before = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    fuse(network)
    assert any(not np.array_equal(value.numpy(), before[key]) for key, value in network.state_dict().items())
    unfuse(network)
    assert all(np.array_equal(value.numpy(), before[key]) for key, value in network.state_dict().items())


def test_layers_stay_the_same_objects_and_eject_restores_them():
    network = ours()
    layers = dict(network.named_sublayers())
    parameters = {key: id(value) for key, value in network.named_parameters()}
    before = {path: (type(layer), dict(vars(layer))) for path, layer in layers.items()}
    keys, expected = list(network.state_dict()), outputs(network)
    for name in ADAPTERS:
        inject(network, name, deltas(name))
    assert set(get_adapters(network)) == set(ADAPTERS)
    assert [type(conv) for conv in network.convs] == [LoRAConv2D, LoRAPaddleConv2D, LoRAConv2D]
    assert all(type(linear) is LoRALinear and isinstance(linear, paddle.nn.Linear) for linear in network.linears)
    assert list(network.state_dict()) == keys
    assert {key: id(value) for key, value in network.named_parameters()} == parameters
    assert not np.array_equal(outputs(network), expected)
    eject(network, "style")
    assert set(get_adapters(network)) == {"detail"}
    eject(network)
    assert dict(network.named_sublayers()) == layers
    for path, layer in layers.items():
        assert (type(layer), dict(vars(layer))) == before[path], path
    assert np.array_equal(outputs(network), expected)
    eject(network)  # nothing to do


def test_weights_for_single_layers():
    network, single = with_adapters(), ours()
    inject(single, "style", {"linears.0": deltas("style")["linears.0"]})
    others = [path for path in deltas("style") if path != "linears.0"]
    set_adapters(network, "style", dict.fromkeys(others, 0.0))
    assert np.allclose(outputs(network), outputs(single), atol=1e-6)


def test_an_inactive_adapter_and_a_part_of_a_network():
    network = ours()
    inject(network, "style", deltas("style"), weight=None)
    assert np.array_equal(outputs(network), outputs(ours()))
    part = ours()
    inject(part.linears, "style", {"0": deltas("style")["linears.0"]})
    inject(part.linears[1], "style", {"": deltas("style")["linears.1"]})
    set_adapters(network, "style", {path: 0.0 for path in deltas("style") if "linears" not in path})
    assert np.allclose(outputs(part), outputs(network), atol=1e-6)


@pytest.mark.parametrize("to_diffusers", [False, True])
def test_saved_files_contain_the_base_weights_only(to_diffusers, tmp_path):
    unet = tiny_unet()
    unet.save_pretrained(tmp_path / "before", to_diffusers=to_diffusers)
    inject(unet, "style", create_lora(unet, ["to_q", "to_k", "conv1", "proj_in"], rank=2))
    unet.save_pretrained(tmp_path / "after", to_diffusers=to_diffusers)
    names = sorted(path.name for path in (tmp_path / "before").iterdir())
    assert sorted(path.name for path in (tmp_path / "after").iterdir()) == names
    for name in names:
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "before" / name).read_bytes(), name
    (weights,) = (tmp_path / "after").glob("*.safetensors")
    assert not [key for key in load_file(weights) if "adapters" in key or key.split(".")[-1] == "down"]


def test_hooks_and_references_of_a_layer_survive():
    network, called = ours(), []
    linear = network.linears[0]
    hook = linear.register_forward_post_hook(lambda layer, inputs, output: called.append(type(layer)))
    inject(network, "style", deltas("style"))
    outputs(network)
    eject(network)
    outputs(network)
    assert called == [LoRALinear, paddle.nn.Linear] and linear is network.linears[0]
    hook.remove()


def test_a_new_lora_changes_nothing_and_can_be_trained():
    unet = tiny_unet()
    with paddle.no_grad():
        expected = unet(*unet_inputs()).sample
    inject(unet, "new", create_lora(unet, r".*attentions.*\.(to_q|to_v)", rank=2, alpha=3))
    with paddle.no_grad():
        assert np.array_equal(unet(*unet_inputs()).sample, expected)
    lora = get_adapters(unet)["new"]
    assert all(delta.rank == 2 and delta.alpha == 3 for delta in lora.values())
    tensors = [tensor for delta in lora.values() for tensor in (delta.down, delta.up)]
    optimizer = paddle.optimizer.SGD(1.0, parameters=tensors)
    unet(*unet_inputs()).sample.sum().backward()
    optimizer.step()
    with paddle.no_grad():
        assert not np.array_equal(unet(*unet_inputs()).sample, expected)


def test_a_deep_copy_is_independent():
    network = with_adapters()
    expected = outputs(network)
    copied = copy.deepcopy(network)
    assert np.array_equal(outputs(copied), expected)
    set_adapters(copied, "style", 0.2)
    eject(copied, "detail")
    assert np.array_equal(outputs(network), expected)
    assert not np.array_equal(outputs(copied), expected)


def test_the_scale_of_a_call_is_local_to_its_thread():
    network = with_adapters()
    full, entered, done, found = outputs(network), threading.Event(), threading.Event(), []

    def other():
        entered.wait(30)
        found.append(outputs(network))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with scaled(network, 0.0):
        entered.set()
        assert done.wait(30)
        assert np.array_equal(outputs(network), outputs(ours()))
    thread.join()
    assert np.array_equal(found[0], full)


def test_errors_list_all_problems_and_change_nothing():
    network, fitting = ours(), deltas("style")
    wrong = {
        "linears.0": fitting["linears.1"],
        "convs.0": fitting["linears.0"],
        "convs": fitting["convs.0"],
        "no.such.layer": fitting["convs.0"],
        "linears.1": fitting["linears.1"],
    }
    with pytest.raises(InputError, match="(?s)linears.0: down.*convs.0: .*convs: LayerList.*no.such.layer: unknown"):
        inject(network, "style", wrong)
    assert not any(isinstance(layer, AdapterLayer) for layer in network.sublayers())
    for name in ("", "with.dot"):
        with pytest.raises(InputError, match="not a valid name"):
            inject(network, name, fitting)
    with pytest.raises(InputError, match="no deltas"):
        inject(network, "style", {})
    inject(network, "style", fitting)
    with pytest.raises(InputError, match=r"linears.0: the layer already has an adapter 'style'"):
        inject(network, "style", {"linears.0": fitting["linears.0"]})
    for call in (
        lambda: set_adapters(network, ["style", "other"]),
        lambda: eject(network, "other"),
        lambda: fuse(network, ["other"]),
    ):
        with pytest.raises(InputError, match="(?s)other.*expected: of style"):
            call()
    with pytest.raises(InputError, match="2 weights for 1 adapters"):
        set_adapters(network, ["style"], [1.0, 2.0])
    with pytest.raises(InputError, match="no layer matches"):
        create_lora(network, ["to_q"])
    with pytest.raises(InputError, match="not the matrices of one LoRA"):
        LoRA(paddle.zeros([4, 3]), paddle.zeros([3, 5]))
    grouped = paddle.nn.Sequential(paddle.nn.Conv2D(4, 4, 3, groups=2))
    with pytest.raises(InputError, match="0: a convolution with groups"):
        create_lora(grouped, ["0"])


@pytest.mark.parametrize("stride, padding, dilation", [(1, 0, 1), (2, 1, 1), ((1, 2), (2, 1), (2, 3))])
def test_a_convolution_by_products_equals_conv2d(stride, padding, dilation):
    x = paddle.to_tensor(rng_for("x").standard_normal((2, 3, 9, 11)).astype("float32"))
    weight = paddle.to_tensor(rng_for("weight").standard_normal((4, 3, 3, 2)).astype("float32"))
    settings = [[size] * 2 if isinstance(size, int) else list(size) for size in (stride, padding, dilation)]
    found = convolve_by_products(x, weight, *settings)
    expected = paddle.nn.functional.conv2d(x, weight, None, *settings)
    assert found.shape == expected.shape and np.allclose(found, expected, atol=1e-5)
