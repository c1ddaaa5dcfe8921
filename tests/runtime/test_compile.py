"""Compiled networks give the results of eager mode, whatever changes between calls."""

import copy
import logging
from pathlib import Path

import numpy as np
import paddle
import pytest

from ppdiffusers import UNet2DModel
from ppdiffusers.core.errors import InputError, MissingDependencyError
from ppdiffusers.runtime import compile, decompile, is_compiled
from ppdiffusers.runtime.compiling import CompiledMethod, Program
from ppdiffusers.runtime.engines import ENGINES
from tests.runtime.support import (
    BACKENDS,
    program_cache,
    relative_distance,
    tiny_text_encoder,
    tiny_unet,
    tiny_vae,
    unet_inputs,
    with_random_weights,
)

__all__ = ["program_cache"]


@pytest.fixture(autouse=True)
def capture_warnings(caplog):
    caplog.set_level(logging.WARNING, logger="ppdiffusers")


def rejected(caplog) -> list[str]:
    """Return the warnings about calls that are not compiled."""
    return [record.getMessage() for record in caplog.records if "is not compiled" in record.getMessage()]


@pytest.mark.parametrize("backend", BACKENDS)
def test_unet_over_changing_shapes_and_timesteps(backend, program_cache, caplog):
    unet = tiny_unet()
    signatures = [(2, 8, 12, 999), (1, 8, 12, 3), (2, 7, 9, 500.5), (2, 8, 12, np.int64(0)), (2, 8, 12, 41)]
    calls = [unet_inputs(*each) for each in signatures]
    with paddle.no_grad():
        wanted = [unet(*call).sample for call in calls]
        assert compile(unet, backend=backend) is unet and is_compiled(unet)
        for _ in range(2):  # the second time without eager mode
            for call, reference in zip(calls, wanted):
                assert relative_distance(unet(*call).sample, reference) <= 1e-4
    assert not rejected(caplog)


@pytest.mark.parametrize("backend", BACKENDS)
def test_second_call_runs_the_program(backend, program_cache, monkeypatch):
    unet = compile(tiny_unet(), backend=backend)
    with paddle.no_grad():
        first = unet(*unet_inputs()).sample
        monkeypatch.setattr(CompiledMethod, "eager", None)
        again = unet(*unet_inputs())
    assert relative_distance(again.sample, first) <= 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
def test_autoencoder_with_slices_and_tiles(backend, program_cache, caplog):
    vae = tiny_vae()
    image = paddle.to_tensor(np.random.default_rng(0).uniform(-1, 1, (2, 3, 36, 44)).astype("float32"))
    latents = paddle.to_tensor(np.random.default_rng(1).standard_normal((2, 4, 18, 22)).astype("float32"))

    def run():
        return vae.encode(image).latent_dist.mode(), vae.decode(latents).sample

    with paddle.no_grad():
        for switch in (lambda: None, vae.enable_slicing, vae.enable_tiling):
            switch()
            wanted = run()
            compile(vae, backend=backend)
            for _ in range(2):
                for found, reference in zip(run(), wanted):
                    assert relative_distance(found, reference) <= 1e-4
            decompile(vae)
    assert not rejected(caplog)


@pytest.mark.parametrize("backend", BACKENDS)
def test_text_encoder_with_and_without_mask(backend, program_cache, caplog):
    encoder = tiny_text_encoder()
    ids = paddle.to_tensor(np.random.default_rng(0).integers(3, 99, (2, 11)))
    ids[:, 7:] = 98  # the largest id occurs several times, as in a padded prompt: the first one ends the prompt
    mask = paddle.to_tensor(np.arange(11)[None] < np.array([[11], [6]])).astype("int64")
    with paddle.no_grad():
        wanted = [encoder(ids), encoder(ids, attention_mask=mask)]
        compile(encoder, backend=backend)
        for _ in range(2):
            for found, reference in zip([encoder(ids), encoder(ids, attention_mask=mask)], wanted):
                assert type(found) is type(reference)
                assert relative_distance(found[0], reference[0]) <= 1e-4
                assert relative_distance(found.pooler_output, reference.pooler_output) <= 1e-4
    assert not rejected(caplog)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"upcast_attention": True, "use_linear_projection": True},
        {"class_embed_type": "timestep"},
        {"resnet_time_scale_shift": "scale_shift", "act_fn": "gelu"},
        {"addition_embed_type": "text", "addition_embed_type_num_heads": 4},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_unets(backend, changes, program_cache, caplog):
    unet = tiny_unet(**changes)
    extra = {"class_labels": paddle.to_tensor([3, 700])} if "class_embed_type" in changes else {}
    mask = paddle.to_tensor(np.arange(7)[None] < np.array([[7], [4]])).astype("int64")
    with paddle.no_grad():
        wanted = unet(*unet_inputs(), encoder_attention_mask=mask, **extra).sample
        compile(unet, backend=backend)
        for _ in range(2):
            found = unet(*unet_inputs(), encoder_attention_mask=mask, **extra).sample
            assert relative_distance(found, wanted) <= 1e-4
    assert not rejected(caplog)


@pytest.mark.parametrize("backend", BACKENDS)
def test_unconditional_unet(backend, program_cache, caplog):
    types = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    unet = with_random_weights(UNet2DModel(block_out_channels=(32, 64), layers_per_block=1, **types))
    sample = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 3, 12, 20)).astype("float32"))
    with paddle.no_grad():
        wanted = unet(sample, 10).sample
        compile(unet, backend=backend)
        assert relative_distance(unet(sample, 10).sample, wanted) <= 1e-4
        assert relative_distance(unet(sample, 10).sample, wanted) <= 1e-4
    assert not rejected(caplog)


def _overwrite(unet):
    unet.conv_in.weight.set_value(unet.conv_in.weight * 2)


def _in_place(unet):
    unet.conv_in.weight.scale_(2.0)


def _load(unet):
    unet.set_state_dict({key: value * 1.25 for key, value in unet.state_dict().items()})


def _replace(unet):
    bias = unet.conv_out.bias
    unet.conv_out.bias = paddle.create_parameter(bias.shape, "float32")
    unet.conv_out.bias.set_value(bias + 1)


@pytest.mark.parametrize("change", [_overwrite, _in_place, _load, _replace], ids=lambda change: change.__name__)
def test_changed_weights_are_detected(change, program_cache):
    unet, reference = tiny_unet(), tiny_unet()
    with paddle.no_grad():
        compile(unet)
        before = unet(*unet_inputs()).sample
        change(unet)
        change(reference)
        wanted = reference(*unet_inputs()).sample
        assert relative_distance(before, wanted) > 1e-3
        for _ in range(2):
            assert relative_distance(unet(*unet_inputs()).sample, wanted) <= 1e-4


def test_a_program_that_disagrees_is_rejected(program_cache, monkeypatch, caplog):
    unet = tiny_unet()
    with paddle.no_grad():
        wanted = unet(*unet_inputs()).sample
        run = Program.__call__

        def wrong(self, tensors):
            result = run(self, tensors)
            result.sample[0, 0, 0, 0] += 1.0
            return result

        monkeypatch.setattr(Program, "__call__", wrong)
        compile(unet)
        for _ in range(2):
            assert np.array_equal(unet(*unet_inputs()).sample.numpy(), wanted.numpy())
    (message,) = rejected(caplog)
    assert "disagrees with eager mode" in message and "UNet2DConditionModel" in message


def test_training_and_gradients_stay_eager(program_cache):
    unet = compile(tiny_unet())
    sample, timestep, text = unet_inputs()
    sample.stop_gradient = False
    unet(sample, timestep, text).sample.sum().backward()
    assert float(sample.grad.abs().sum()) > 0
    unet.train()
    result = unet(*unet_inputs()).sample
    assert not result.stop_gradient
    assert not program_cache.exists()


def test_weights_stay_usable_and_loadable(program_cache, tmp_path):
    unet = tiny_unet()
    before = {key: value.numpy().copy() for key, value in unet.state_dict().items()}
    with paddle.no_grad():
        compile(unet)
        unet(*unet_inputs())
    unet.save_pretrained(tmp_path / "saved")
    again = type(unet).from_pretrained(tmp_path / "saved")
    for key, value in again.state_dict().items():
        assert np.array_equal(value.numpy(), before[key]), key
    decompile(unet)
    assert not is_compiled(unet)
    for key, value in unet.state_dict().items():
        assert np.array_equal(value.numpy(), before[key]), key


def test_a_deep_copy_is_independent(program_cache):
    unet = compile(tiny_unet())
    with paddle.no_grad():
        first = unet(*unet_inputs()).sample
        other = copy.deepcopy(unet)
        other.conv_in.weight.set_value(other.conv_in.weight * 2)
        assert relative_distance(unet(*unet_inputs()).sample, first) <= 1e-4
        assert relative_distance(other(*unet_inputs()).sample, first) > 1e-3


def test_auto_compiles_only_slow_calls(program_cache, monkeypatch):
    unet = compile(tiny_unet(), mode="auto")
    with paddle.no_grad():
        wanted = unet(*unet_inputs()).sample
        assert not program_cache.exists()
        monkeypatch.setattr("ppdiffusers.runtime.compiling._MIN_EAGER_SECONDS", 0.0)
        monkeypatch.setattr("ppdiffusers.runtime.compiling._COMPILE_SECONDS", 0.0)
        monkeypatch.setattr("ppdiffusers.runtime.compiling._COMPILE_SECONDS_PER_GB", 0.0)
        unet(*unet_inputs())
        assert program_cache.exists()
        monkeypatch.setattr(CompiledMethod, "eager", None)
        assert relative_distance(unet(*unet_inputs()).sample, wanted) <= 1e-4


def test_auto_remembers_slow_calls(program_cache, monkeypatch, caplog):
    """A later process runs the program at its first call; other weights are compared with eager mode first."""
    with paddle.no_grad(), monkeypatch.context() as long_calls:
        wanted = tiny_unet()(*unet_inputs()).sample
        for name in ("_MIN_EAGER_SECONDS", "_COMPILE_SECONDS", "_COMPILE_SECONDS_PER_GB"):
            long_calls.setattr(f"ppdiffusers.runtime.compiling.{name}", 0.0)
        compile(tiny_unet(), mode="auto")(*unet_inputs())
    with paddle.no_grad(), monkeypatch.context() as no_eager:
        no_eager.setattr(CompiledMethod, "eager", None)
        assert relative_distance(compile(tiny_unet(), mode="auto")(*unet_inputs()).sample, wanted) <= 1e-4
    other = tiny_unet()
    other.conv_out.weight.set_value(other.conv_out.weight * 2)
    with paddle.no_grad():
        wanted = other(*unet_inputs()).sample
        compile(other, mode="auto")
        for _ in range(2):
            assert relative_distance(other(*unet_inputs()).sample, wanted) <= 1e-4
    assert not rejected(caplog)


class Twice(paddle.nn.Layer):
    """Returns one tensor twice, and does not use its second argument."""

    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(4, 3)

    def forward(self, x, ignored):
        y = self.linear(x)
        return y, {"again": y, "sum": y.sum()}


@pytest.mark.parametrize("backend", BACKENDS)
def test_repeated_results_and_unused_arguments(backend, program_cache, caplog):
    layer, x, ignored = Twice(), paddle.ones([2, 4]), paddle.zeros([5])
    with paddle.no_grad():
        wanted, _ = layer(x, ignored)
        compile(layer, backend=backend)
        for _ in range(2):
            first, rest = layer(x, ignored)
            assert relative_distance(first, wanted) <= 1e-6 and relative_distance(rest["again"], wanted) <= 1e-6
            assert relative_distance(rest["sum"], wanted.sum()) <= 1e-5
    assert not rejected(caplog)


def test_invalid_arguments_are_rejected():
    unet = tiny_unet()
    for_gpus = [({"backend": name}, f"{name}.*cpu") for name in ("gpu", "cinn", "tensorrt")]
    for arguments, word in (({"backend": "tpu"}, "tpu"), ({"mode": "always"}, "always"), *for_gpus):
        with pytest.raises(InputError, match=word):
            compile(unet, **arguments)
    with pytest.raises(InputError, match="float16"):
        compile(unet, dtype="float16")
    assert not is_compiled(unet)
    with pytest.raises(MissingDependencyError, match="pip install tensorrt"):
        ENGINES["tensorrt"]("float32", "gpu:0")


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_needs_a_processor_that_supports_it(backend, caplog):
    """Without AVX-512, programs compute in float32; with AVX-512 alone, engines may emulate bfloat16."""
    facts = set(Path("/proc/cpuinfo").read_text().split())
    dtype, warned = ENGINES[backend]("bfloat16").dtype, "does not support bfloat16" in caplog.text
    assert warned == (dtype == "float32")
    if facts & {"avx512_bf16", "amx_bf16"}:
        assert dtype == "bfloat16"
    elif "avx512f" not in facts:
        assert dtype == "float32"


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_is_within_its_tolerance(backend, program_cache, caplog):
    unet = tiny_unet()
    with paddle.no_grad():
        wanted = unet(*unet_inputs()).sample
        compile(unet, dtype="bfloat16", backend=backend)
        unet(*unet_inputs())
        assert relative_distance(unet(*unet_inputs()).sample, wanted) <= 5e-2
    assert not rejected(caplog)
