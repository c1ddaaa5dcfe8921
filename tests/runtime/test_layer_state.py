"""Compiled networks respect adapters, hooks and attributes of layers; programs are reused where they are valid."""

import contextlib
import logging

import numpy as np
import paddle
import pytest

from ppdiffusers.models.adapters import (
    LoRA,
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
from ppdiffusers.runtime import compile
from ppdiffusers.runtime.compiling import CompiledMethod, Program
from ppdiffusers.runtime.export import ExportedProgram, export_programs
from ppdiffusers.runtime.snapshot import LayerSnapshot
from tests.runtime.support import BACKENDS, program_cache, relative_distance, tiny_unet, unet_inputs
from tests.support.parity import rng_for

__all__ = ["program_cache"]


@pytest.fixture
def programs(monkeypatch):
    """Return the list of programs that are loaded or compiled during the test."""
    made, original = [], Program.__init__

    def init(self, *args):
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(Program, "__init__", init)
    return made


@pytest.fixture
def warnings(caplog):
    """Return a function that returns the warnings about calls that are not compiled."""
    caplog.set_level(logging.WARNING, logger="ppdiffusers")
    yield lambda: [r.getMessage() for r in caplog.records if "is not compiled" in r.getMessage()]


def random_lora(network, seed: str, rank: int = 2, alpha: float = 3) -> dict[str, LoRA]:
    lora = create_lora(network, ["to_q", "to_v", "conv1", "conv", "proj_in"], rank, alpha)
    for path, delta in lora.items():
        for name, tensor in (("down", delta.down), ("up", delta.up)):
            values = rng_for(f"{seed} {path} {name}").standard_normal(tensor.shape).astype("float32") / 4
            tensor.set_value(values)
            tensor.stop_gradient = True
    return lora


def result(unet) -> paddle.Tensor:
    with paddle.no_grad():
        return unet(*unet_inputs()).sample


def assert_equals_eager(compiled, eager) -> paddle.Tensor:
    expected = result(eager)
    for _ in range(2):
        assert relative_distance(result(compiled), expected) <= 1e-4
    return expected


# -- adapters -------------------------------------------------------------------------------------------------------


def _switch(unet):
    set_adapters(unet, "detail", 0.8)
    return contextlib.nullcontext()


def _mix(unet):
    set_adapters(unet, ["style", "detail"], [0.3, -0.6])
    return contextlib.nullcontext()


def _single_layers(unet):
    paths = [path for path in get_adapters(unet)["style"] if "down_blocks" in path]
    set_adapters(unet, "style", dict.fromkeys(paths, 0.1))
    return contextlib.nullcontext()


def _scale_of_a_call(unet):
    set_adapters(unet, "style")
    return scaled(unet, 0.4)


def _disable(unet):
    disable_adapters(unet)
    return contextlib.nullcontext()


def _enable(unet):
    enable_adapters(unet)
    return contextlib.nullcontext()


def _exchange(unet):
    eject(unet, "detail")
    inject(unet, "other", random_lora(unet, "other", rank=3, alpha=1))
    return contextlib.nullcontext()


@pytest.mark.parametrize("backend", BACKENDS)
def test_adapters_are_inputs_of_a_program(backend, program_cache, programs, warnings):
    compiled, eager = compile(tiny_unet(), backend=backend), tiny_unet()
    results = [assert_equals_eager(compiled, eager)]
    assert len(programs) == 1
    for unet in (compiled, eager):
        inject(unet, "style", random_lora(unet, "style"))
        inject(unet, "detail", random_lora(unet, "detail", rank=3))
    results.append(assert_equals_eager(compiled, eager))
    assert len(programs) == 2, "new adapters need one new program"
    for change in (_switch, _mix, _single_layers, _scale_of_a_call, _disable, _enable, _exchange):
        with change(compiled), change(eager):
            results.append(assert_equals_eager(compiled, eager))
        assert len(programs) == 2, change.__name__
    assert relative_distance(results[2], results[1]) > 1e-3 and relative_distance(results[3], results[2]) > 1e-3
    assert relative_distance(results[4], results[3]) > 1e-3 and relative_distance(results[5], results[4]) > 1e-3
    assert np.array_equal(results[6], results[0]), "disabled adapters have no effect"
    for unet in (compiled, eager):
        matrix = next(iter(get_adapters(unet)["style"].values())).up
        matrix.set_value(matrix * 2)
    assert_equals_eager(compiled, eager)
    assert len(programs) == 2
    eject(compiled)
    assert relative_distance(result(compiled), results[0]) <= 1e-4
    assert not warnings()


@pytest.mark.parametrize("backend", BACKENDS)
def test_fused_adapters_are_detected(backend, program_cache, programs, warnings):
    compiled, eager = compile(tiny_unet(), backend=backend), tiny_unet()
    for unet in (compiled, eager):
        inject(unet, "style", random_lora(unet, "style"))
    unfused = assert_equals_eager(compiled, eager)
    for unet in (compiled, eager):
        fuse(unet, scale=0.5)
    assert relative_distance(assert_equals_eager(compiled, eager), unfused) > 1e-3
    for unet in (compiled, eager):
        unfuse(unet)
    assert_equals_eager(compiled, eager)
    assert not warnings()


class Scaled(paddle.nn.Layer):
    """A network that scales LoRA with an argument of the call, as diffusers does."""

    def __init__(self):
        super().__init__()
        self.first, self.second = paddle.nn.Linear(6, 5), paddle.nn.Linear(5, 4)

    def forward(self, x, cross_attention_kwargs=None):
        with scaled(self, (cross_attention_kwargs or {}).get("scale", 1.0)):
            return self.second(paddle.nn.functional.silu(self.first(x)))


def scaled_network() -> Scaled:
    network = Scaled()
    for name, parameter in network.named_parameters():
        parameter.set_value(rng_for(name).standard_normal(parameter.shape).astype("float32"))
    shapes = {"first": ([2, 6], [5, 2]), "second": ([2, 5], [4, 2])}
    matrices = {
        path: [paddle.to_tensor(rng_for(f"{path}{shape}").standard_normal(shape).astype("float32")) for shape in both]
        for path, both in shapes.items()
    }
    inject(network, "style", {path: LoRA(down, up) for path, (down, up) in matrices.items()})
    network.eval()
    return network


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_scale_in_the_arguments_is_an_input(backend, program_cache, programs, warnings):
    network, x = scaled_network(), paddle.ones([3, 6])
    scales = (0.5, 1, 0.25, np.float64(2))
    with paddle.no_grad():
        expected = [network(x, cross_attention_kwargs={"scale": scale}) for scale in scales]
        with scaled(network, 0.5):
            both = network(x, cross_attention_kwargs={"scale": 0.5})
        assert relative_distance(both, expected[2]) <= 1e-5
        compile(network, backend=backend)
        for scale, wanted in zip(scales * 2, expected * 2):
            assert relative_distance(network(x, cross_attention_kwargs={"scale": scale}), wanted) <= 1e-5
        with scaled(network, 0.5):
            for _ in range(2):
                assert relative_distance(network(x, cross_attention_kwargs={"scale": 0.5}), both) <= 1e-5
        set_adapters(network, "style", 2.0)
        assert relative_distance(network(x, cross_attention_kwargs={"scale": 0.5}), expected[1]) <= 1e-5
    assert len(programs) == 1 and not warnings()


def test_an_exported_program_contains_its_adapters(tmp_path):
    network, x = scaled_network(), paddle.ones([3, 6])
    set_adapters(network, "style", 0.5)
    with paddle.no_grad():
        expected = network(x)
        export_programs({"network": network}, lambda: network(x), tmp_path / "out")
    assert relative_distance(ExportedProgram(tmp_path / "out" / "network")(x), expected) <= 1e-5


# -- hooks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pre", "post"])
def test_hooks_of_sublayers_run(kind, program_cache, programs, monkeypatch):
    unet = compile(tiny_unet())
    expected = result(unet)
    register = getattr(unet.conv_in, f"register_forward_{kind}_hook")
    hook = register(lambda layer, inputs, *output: (2 * inputs[0],) if kind == "pre" else 2 * output[0])
    for _ in range(2):
        assert relative_distance(result(unet), expected) > 1e-3
    hook.remove()
    monkeypatch.setattr(CompiledMethod, "eager", None)
    assert relative_distance(result(unet), expected) <= 1e-4
    assert len(programs) == 1


def test_hooks_of_the_network_itself_run_around_the_program(program_cache, programs, monkeypatch):
    unet, called = compile(tiny_unet()), []
    expected = result(unet)
    monkeypatch.setattr(CompiledMethod, "eager", None)
    unet.register_forward_pre_hook(lambda layer, inputs: called.append("pre"))
    unet.register_forward_post_hook(lambda layer, inputs, output: called.append("post"))
    assert relative_distance(result(unet), expected) <= 1e-4
    assert called == ["pre", "post"] and len(programs) == 1


# -- attributes -----------------------------------------------------------------------------------------------------


class Amplify:
    """An object with settings, like an attention processor."""

    def __init__(self, factor):
        self.factor, self.extra = factor, []

    def __call__(self, x):
        return self.factor * x + sum(self.extra)


class Configurable(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.linear, self.activation = paddle.nn.Linear(4, 4), paddle.nn.ReLU()
        self.factor, self.offsets, self.table = 1.0, [0.5, 0.25], np.ones(4, "float32")
        self.processor, self.function = Amplify(1.0), lambda x: x

    def forward(self, x):
        x = self.processor(self.activation(self.linear(x))) * self.factor + sum(self.offsets)
        return self.function(x * paddle.to_tensor(self.table))


class Outer(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.inner, self.dropout = Configurable(), paddle.nn.Dropout(0.9)

    def forward(self, x):
        return self.dropout(self.inner(x))


def _attribute(name, value):
    return lambda network: setattr(network.inner, name, value)


ATTRIBUTES = {
    "float": _attribute("factor", 2.0),
    "list": _attribute("offsets", [1.0]),
    "list in place": lambda network: network.inner.offsets.append(1.0),
    "array": _attribute("table", np.full(4, 2, "float32")),
    "object": _attribute("processor", Amplify(3.0)),
    "object in place": lambda network: setattr(network.inner.processor, "factor", 3.0),
    "list of an object in place": lambda network: network.inner.processor.extra.append(2.0),
    "function": _attribute("function", lambda x: x - 4),
    "sublayer": _attribute("activation", paddle.nn.Sigmoid()),
    "forward": lambda network: setattr(network.inner, "forward", lambda x: x * 5),
}


@pytest.mark.parametrize("change", ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_changed_attributes_are_detected(change, program_cache, programs, warnings):
    paddle.seed(0)
    network, x = Outer(), paddle.ones([2, 4])
    network.eval()
    with paddle.no_grad():
        compile(network)
        before = [network(x) for _ in range(2)][-1]
        assert len(programs) == 1
        change(network)
        expected = Outer.forward(network, x)
        assert relative_distance(before, expected) > 1e-2
        for _ in range(2):
            assert relative_distance(network(x), expected) <= 1e-5
    assert len(programs) == 2 and not warnings()


def test_an_attribute_that_is_set_back_reuses_the_program_on_disk(program_cache, programs):
    unet = compile(tiny_unet())
    result(unet)
    entries = len(list(program_cache.glob("program-*")))
    for factor in (2.0, 1.0, 2.0, 1.0):
        unet.mid_block.attentions[0].transformer_blocks[0].attn1.rescale_output_factor = factor
        result(unet)
    assert len(list(program_cache.glob("program-*"))) == entries + 1


@pytest.mark.parametrize("name, value", [("slice_size", 1), ("upcast_attention", True), ("rescale_output_factor", 2.0)])
def test_changed_attributes_of_attention_are_detected(name, value, program_cache, programs):
    compiled, eager = compile(tiny_unet()), tiny_unet()
    assert_equals_eager(compiled, eager)
    for unet in (compiled, eager):
        attention = unet.mid_block.attentions[0].transformer_blocks[0].attn1
        assert hasattr(attention, name)
        setattr(attention, name, value)
    assert_equals_eager(compiled, eager)
    assert len(programs) == 2


def test_a_sublayer_in_training_mode_is_detected(program_cache):
    network, x = Outer(), paddle.ones([2, 4])
    network.eval()
    with paddle.no_grad():
        compile(network)
        network(x)
        network.dropout.train()
        for _ in range(3):
            assert float((network(x) == 0).astype("float32").mean()) > 0
        assert network.dropout.training


class Counter(paddle.nn.Layer):
    """Changes an attribute at each of its first calls."""

    def __init__(self, most):
        super().__init__()
        self.linear, self.calls, self.most = paddle.nn.Linear(4, 4), 0, most

    def forward(self, x):
        self.calls = min(self.calls + 1, self.most)
        return self.linear(x) * self.calls


@pytest.mark.parametrize("mode", ["on", "auto"])
def test_calls_that_change_attributes_stay_eager(mode, program_cache, warnings, monkeypatch):
    for name in ("_MIN_EAGER_SECONDS", "_COMPILE_SECONDS", "_COMPILE_SECONDS_PER_GB"):
        monkeypatch.setattr(f"ppdiffusers.runtime.compiling.{name}", 0.0)
    network, x = Counter(most=100), paddle.ones([2, 4])
    network.eval()
    with paddle.no_grad():
        once = network.linear(x)
        compile(network, mode=mode)
        for n in range(1, 8):
            assert relative_distance(network(x), once * n) <= 1e-6
    (message,) = warnings()
    assert "Counter" in message and "change attributes" in message
    assert not list(program_cache.glob("program-*"))


def test_an_attribute_that_changes_once_delays_compiling(program_cache, programs, warnings):
    network, x = Counter(most=1), paddle.ones([2, 4])
    network.eval()
    with paddle.no_grad():
        once = network.linear(x)
        compile(network)
        for _ in range(3):
            assert relative_distance(network(x), once) <= 1e-5
    assert len(programs) == 1 and not warnings()


def test_fingerprints_are_equal_for_equal_networks():
    """Names, addresses and the order of creation do not matter: the next process finds the programs."""
    first, second = (LayerSnapshot(tiny_unet(), CompiledMethod) for _ in range(2))
    assert first.fingerprint == second.fingerprint
    assert first.modules == second.modules == set()
    changed = tiny_unet()
    changed.conv_norm_out._epsilon = 1e-3
    assert LayerSnapshot(changed, CompiledMethod).fingerprint != first.fingerprint


def test_the_code_of_other_modules_takes_part():
    assert LayerSnapshot(Outer(), CompiledMethod).modules == {__name__}
