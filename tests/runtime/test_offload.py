"""Offloading moves each network, or each layer, to the device before it computes and back after it."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdiffusers import StableDiffusionPipeline
from ppdiffusers.runtime.offload import DeviceMoves, Offload
from tests.support.checkpoints import tiny_stable_diffusion

CALL = {"prompt": "a cat", "num_inference_steps": 2, "height": 32, "width": 48, "generator": 0, "output_type": "np"}


class RecordedMoves:
    """Records which tensors are on the device, and how many values at most."""

    def __init__(self, names):
        self.names, self.events, self.loaded, self.most = names, [], {}, 0

    def load(self, tensors):
        tensors = list(tensors)
        for tensor in tensors:
            assert id(tensor) not in self.loaded
            self.loaded[id(tensor)] = tensor
        self.most = max(self.most, sum(tensor.size for tensor in self.loaded.values()))
        self.events.append(self.names.get(id(tensors[0])))

    def unload(self, tensors):
        for tensor in tensors:
            del self.loaded[id(tensor)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_stable_diffusion(tmp_path_factory.mktemp("sd"), safety_checker=False)


@pytest.fixture
def pipe(folder):
    loaded = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def offloaded(pipe, **options):
    names = {id(t): name for name, layer in pipe._layers().items() for t in (*layer.parameters(), *layer.buffers())}
    moves = RecordedMoves(names)
    pipe._offload_to("cpu", moves, **options)
    return moves


def largest(pipe):
    """Values of the largest network."""
    layers = pipe._layers().values()
    return max(sum(tensor.size for tensor in (*layer.parameters(), *layer.buffers())) for layer in layers)


def test_one_network_at_a_time(pipe):
    expected = pipe(**CALL).images
    moves = offloaded(pipe, layer_by_layer=False)
    np.testing.assert_array_equal(pipe(**CALL).images, expected)
    assert moves.events == ["text_encoder", "unet", "vae"]
    assert not moves.loaded and moves.most == largest(pipe)
    pipe.vae.encode(paddle.zeros([1, 3, 32, 32]))  # other methods than forward move the network, too
    assert moves.events[-1] == "vae" and moves.loaded  # it stays until another one is called
    pipe.maybe_free_model_hooks()
    assert not moves.loaded


def test_one_layer_at_a_time(pipe):
    expected = pipe(**CALL).images
    moves = offloaded(pipe, layer_by_layer=True)
    np.testing.assert_array_equal(pipe(**CALL).images, expected)
    assert not moves.loaded and moves.most < largest(pipe) / 2
    assert moves.events.count("unet") > 20


def test_a_call_that_fails_leaves_nothing_on_the_device(pipe):
    moves = offloaded(pipe, layer_by_layer=False)

    def fail(*args):
        raise ValueError

    with pytest.raises(ValueError):
        pipe(**CALL, callback_on_step_end=fail)
    assert moves.events == ["text_encoder", "unet"] and not moves.loaded


def test_offloading_ends(pipe, caplog):
    moves = offloaded(pipe, layer_by_layer=True)
    pipe.remove_all_hooks()
    pipe(**CALL)
    assert not moves.events and pipe._execution_device == "cpu"
    moves = offloaded(pipe, layer_by_layer=False)
    pipe.to("cpu")
    pipe(**CALL)
    assert not moves.events and "no longer offloaded" in caplog.text


def test_the_device_of_a_call(pipe):
    pipe._offload_to("cpu", RecordedMoves({}), layer_by_layer=False)
    pipe._offload.device = "gpu:0"
    assert pipe._execution_device == "gpu:0" and pipe.device == "cpu"
    shared = StableDiffusionPipeline.from_pipe(pipe)
    assert shared._execution_device == "gpu:0"


@pytest.mark.skipif(paddle.device.is_compiled_with_cuda(), reason="for Paddle without a GPU")
def test_without_a_gpu_nothing_happens(pipe, caplog):
    caplog.set_level("INFO")
    pipe.enable_model_cpu_offload()
    pipe.enable_sequential_cpu_offload(gpu_id=0, device="cuda")
    assert pipe._offload is None and caplog.text.count("nothing is offloaded") == 2


def test_moves_keep_objects_and_values():
    layer = nn.Linear(3, 4)
    tensors, before = layer.parameters(), [parameter.numpy() for parameter in layer.parameters()]
    moves = DeviceMoves("cpu")
    moves.load(tensors)
    assert all(np.array_equal(tensor.numpy(), value) for tensor, value in zip(tensors, before, strict=True))
    moves.unload(tensors)
    assert [id(tensor) for tensor in layer.parameters()] == [id(tensor) for tensor in tensors]
    assert all(np.array_equal(tensor.numpy(), value) for tensor, value in zip(tensors, before, strict=True))


@pytest.mark.parametrize("change", ["in place", "another buffer"])
def test_values_that_change_on_the_device_are_kept(change):
    layer = nn.Linear(3, 4)
    offload = Offload([layer], "cpu")
    layer(paddle.ones([1, 3]))
    with paddle.no_grad():
        if change == "in place":
            layer.weight.add_(paddle.ones([3, 4]))
        else:
            (layer.weight + 1)._share_buffer_to(layer.weight)
    expected = layer.weight.numpy()
    offload.unload()
    assert np.array_equal(layer.weight.numpy(), expected)


def test_tensors_that_are_added_later_move_too():
    layer = nn.Linear(3, 4)
    moves = RecordedMoves({})
    offload = Offload([layer], "cpu", moves)
    layer.register_buffer("added", paddle.ones([2]))
    layer(paddle.ones([1, 3]))
    assert id(layer.added) in moves.loaded
    offload.unload()
    assert not moves.loaded
