"""Each engine compiles every kind of network in the library; none falls back to eager mode."""

import importlib
import logging

import numpy as np
import paddle
import pytest

from ppdiffusers import ControlNetUnionModel, DiffusionPipeline
from ppdiffusers.runtime import compile, is_compiled
from ppdiffusers.runtime.verify import distance
from ppdiffusers.utils.dummy_inputs import as_tensors
from tests.runtime.support import BACKENDS, program_cache, with_random_weights
from tests.support.scripts import INFERENCE, TINY_CHECKPOINTS

__all__ = ["program_cache"]
# Not called as a whole: a table of embeddings, an image.
NOT_CALLED = ("LearnedClassifierFreeSamplingEmbeddings", "IFWatermarker")
# Eager with these engines: oneDNN programs of Paddle 3.3.1 give wrong numbers for the steps of an LSTM, and for
# attention and feed-forward layers without biases together.
EAGER = {("bddm", "onednn"): {"BDDMScheduleModel"}, ("deepfloyd_if", "onednn"): {"T5EncoderModel"}}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("checkpoint", TINY_CHECKPOINTS)
def test_every_network_of_the_tiny_checkpoints(checkpoint, backend, program_cache, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, logger="ppdiffusers")
    monkeypatch.syspath_prepend(str(INFERENCE))
    folder = importlib.import_module(f"tiny.{checkpoint}").make(tmp_path / "checkpoint")
    pipe = DiffusionPipeline.from_pretrained(folder, compile="off")
    layers = {name: part for name, part in pipe.components.items() if isinstance(part, paddle.nn.Layer)}
    layers = {name: part for name, part in layers.items() if type(part).__name__ not in NOT_CALLED}
    assert layers
    for name, layer in layers.items():
        assert_compiles(with_random_weights(layer), backend, name)
        if backend == BACKENDS[0]:
            assert_casts_inputs(layer.eval(), name)
    reported = {r.getMessage().partition(".")[0] for r in caplog.records if "is not compiled" in r.getMessage()}
    assert reported == EAGER.get((checkpoint, backend), set())
    assert list(program_cache.glob("program-*"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_controlnet_for_several_types(backend, program_cache, caplog):
    """Its control images are a list, and their types are numbers."""
    caplog.set_level(logging.WARNING, logger="ppdiffusers")
    layer = ControlNetUnionModel(
        block_out_channels=(16, 32), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), layers_per_block=1,
        norm_num_groups=4, cross_attention_dim=24, attention_head_dim=4, conditioning_embedding_out_channels=(4, 6),
        addition_time_embed_dim=6, num_control_type=5, num_trans_channel=16, num_trans_head=4, num_proj_channel=16,
    )  # fmt: skip
    assert_compiles(with_random_weights(layer), backend, "controlnet")
    assert not [r.getMessage() for r in caplog.records if "is not compiled" in r.getMessage()]


def assert_casts_inputs(layer, name):
    """Inputs in half precision give the outputs of the same values in float32: the CPU computes in it."""
    rounded = {dtype: as_dtype(dummy_tensors(layer), dtype) for dtype in ("float16", "bfloat16")}
    for dtype, inputs in rounded.items():
        with paddle.no_grad():
            found = type(layer).reference_outputs(layer, inputs)
            expected = type(layer).reference_outputs(layer, as_dtype(inputs, "float32"))
        assert distance(found, expected) <= 1e-6, (name, dtype)


def as_dtype(value, dtype):
    """Cast the floating tensors in `value`."""
    if isinstance(value, dict):
        return {key: as_dtype(item, dtype) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(as_dtype(item, dtype) for item in value)
    return value.astype(dtype) if isinstance(value, paddle.Tensor) and value.is_floating_point() else value


def dummy_tensors(layer):
    return as_tensors(layer.dummy_inputs(np.random.default_rng(0)), paddle.to_tensor)


def assert_compiles(layer, backend, name):
    """A compiled network gives the outputs of eager mode."""
    inputs = dummy_tensors(layer)

    def outputs():
        with paddle.no_grad():
            return type(layer).reference_outputs(layer, inputs)

    expected = outputs()
    compile(layer, backend=backend)
    assert is_compiled(layer)
    for _ in range(2):
        assert distance(outputs(), expected) <= 1e-4, name
