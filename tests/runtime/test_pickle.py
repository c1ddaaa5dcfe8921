"""Pipelines, networks and schedulers are pickled and copied, compiled or not: worker processes need it."""

import copy
import importlib
import pickle
import subprocess
import sys

import numpy as np
import paddle
import pytest

import ppdiffusers
from ppdiffusers import DiffusionPipeline, registry
from ppdiffusers.runtime import compile, is_compiled
from ppdiffusers.utils.dummy_inputs import as_tensors
from tests.io.toy import assert_same_state, toy
from tests.runtime.support import BACKENDS, program_cache, tiny_text_encoder, tiny_unet, tiny_vae, unet_inputs
from tests.support.scripts import INFERENCE, TINY_CHECKPOINTS

__all__ = ["program_cache"]
COPIES = {"pickle": lambda value: pickle.loads(pickle.dumps(value)), "deepcopy": copy.deepcopy}


@pytest.mark.parametrize("checkpoint", TINY_CHECKPOINTS)
def test_pipelines(checkpoint, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(INFERENCE))
    folder = importlib.import_module(f"tiny.{checkpoint}").make(tmp_path / "checkpoint")
    pipe = DiffusionPipeline.from_pretrained(folder)
    for made in (function(pipe) for function in COPIES.values()):
        assert type(made) is type(pipe) and made.config == pipe.config and repr(made) == repr(pipe)
        for name, component in pipe.components.items():
            other = made.components[name]
            assert type(other) is type(component) and (other is not component or component is None)
            if isinstance(component, paddle.nn.Layer):
                assert_same_state(other, component)
                assert other.training == component.training
                if hasattr(component, "dummy_inputs") and name != "learned_classifier_free_sampling_embeddings":
                    assert_same_outputs(other, component)


def assert_same_outputs(one, other):
    inputs = as_tensors(one.dummy_inputs(np.random.default_rng(0)), paddle.to_tensor)
    with paddle.no_grad():
        ours, theirs = (type(layer).reference_outputs(layer, inputs) for layer in (one, other))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("make", [tiny_unet, tiny_vae, tiny_text_encoder])
def test_compiled_networks(make, how, program_cache):
    network = make()
    inputs = as_tensors(network.dummy_inputs(np.random.default_rng(0)), paddle.to_tensor)
    compile(network, backend=BACKENDS[1])
    with paddle.no_grad():
        type(network).reference_outputs(network, inputs)  # with programs, and weights in a mapped file
    made = COPIES[how](network)
    assert is_compiled(network) and is_compiled(made) == (how == "deepcopy")
    assert not made.training
    assert_same_state(made, network)
    if how == "pickle":
        assert_same_outputs(made, make())
        assert "forward" not in made.__dict__ and COPIES[how](network.train()).training


def test_parameters_stay_parameters():
    network = toy()
    network.oblong.bias.stop_gradient = True
    for made in (COPIES["pickle"](network), COPIES["pickle"](network.to("bfloat16"))):
        for (name, ours), theirs in zip(made.named_parameters(), network.parameters(), strict=True):
            assert type(ours) is type(theirs), name
            assert (ours.stop_gradient, ours.trainable) == (theirs.stop_gradient, theirs.trainable), name
        assert made.tied.weight is made.square.weight and made.square.weight is not network.square.weight
    optimizer = paddle.optimizer.SGD(parameters=made.to("float32").parameters())
    made(paddle.ones([1, 4])).sum().backward()
    before = made.oblong.weight.numpy()
    optimizer.step()
    assert not np.array_equal(made.oblong.weight.numpy(), before)


@pytest.mark.parametrize("name", sorted(entry.name for entry in registry.entries("scheduler")))
def test_schedulers(name):
    scheduler = getattr(ppdiffusers, name)(**({"num_vec_classes": 4} if name == "VQDiffusionScheduler" else {}))
    scheduler.set_timesteps(4)
    for made in (function(scheduler) for function in COPIES.values()):
        assert type(made) is type(scheduler) and made.config == scheduler.config
        if getattr(scheduler, "timesteps", None) is not None:
            assert np.array_equal(made.timesteps, scheduler.timesteps)


def test_another_process_gives_the_same(tmp_path, program_cache):
    network = compile(tiny_unet(), backend=BACKENDS[1])
    (tmp_path / "network").write_bytes(pickle.dumps(network))
    (tmp_path / "inputs").write_bytes(pickle.dumps(unet_inputs()))
    script = (
        "import pickle, sys, numpy, paddle\n"
        "network, inputs = (pickle.load(open(f'{sys.argv[1]}/{name}', 'rb')) for name in ('network', 'inputs'))\n"
        "with paddle.no_grad():\n"
        "    numpy.save(sys.argv[1] + '/result.npy', network(*inputs).sample.numpy())\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    with paddle.no_grad():
        expected = tiny_unet()(*unet_inputs()).sample
    np.testing.assert_array_equal(np.load(tmp_path / "result.npy"), expected.numpy())
