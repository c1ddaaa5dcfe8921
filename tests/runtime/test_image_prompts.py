"""Compiled UNets with IP-Adapters and FreeU give the results of eager mode, and are not compiled without need."""

import numpy as np
import paddle
import pytest

from ppdiffusers.models.adapters.image_projections import ImageProjection, IPAdapterFaceIDPlusImageProjection
from ppdiffusers.models.adapters.ip_adapter import (
    IPAdapter,
    _cross_attention,
    attach_ip_adapters,
    detach_ip_adapters,
    set_ip_adapter_scales,
)
from ppdiffusers.runtime import compile
from ppdiffusers.runtime.compiling import Program
from tests.runtime.support import (
    BACKENDS,
    program_cache,
    relative_distance,
    tiny_unet,
    unet_inputs,
    with_random_weights,
)
from tests.support.parity import noise

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


def attach(unet, *projections):
    """Attach adapters with random weights: an `ImageProjection` of 10 channels if none is given."""
    projections = projections or (ImageProjection(10, 24, 4),)
    layers = _cross_attention(unet)
    attach_ip_adapters(unet, [with_random_weights(IPAdapter(projection, 4, layers)) for projection in projections])


def result(unet, *images, masks=None):
    embeds = [paddle.to_tensor(image) for image in images or (noise((2, 2, 10), "images"),)]
    kwargs = {} if masks is None else {"cross_attention_kwargs": {"ip_adapter_masks": masks}}
    with paddle.no_grad():
        return unet(*unet_inputs(), added_cond_kwargs={"image_embeds": embeds}, **kwargs).sample


def assert_equals_eager(compiled, eager, *images, **kwargs):
    expected = result(eager, *images, **kwargs)
    for _ in range(2):
        assert relative_distance(result(compiled, *images, **kwargs), expected) <= 1e-4
    return expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_scales_are_inputs_of_a_program(backend, program_cache, programs):
    compiled, eager = compile(tiny_unet(), backend=backend), tiny_unet()
    for unet in (compiled, eager):
        attach(unet)
    results = [assert_equals_eager(compiled, eager)]
    for scale in (0.5, 0.0, {"mid_block.attentions.0": 1.5}):
        for unet in (compiled, eager):
            set_ip_adapter_scales(unet, [scale])
        results.append(assert_equals_eager(compiled, eager))
        assert relative_distance(results[-1], results[-2]) > 1e-3
    assert len(programs) == 1
    other = noise((2, 2, 10), "other images")
    assert relative_distance(assert_equals_eager(compiled, eager, other), results[-1]) > 1e-3
    assert len(programs) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_are_inputs_of_a_program(backend, program_cache, programs):
    compiled, eager = compile(tiny_unet(), backend=backend), tiny_unet()
    masks = [[paddle.to_tensor((noise((1, 2, 16, 24), name) > 0).astype("float32"))] for name in ("one", "two")]
    for unet in (compiled, eager):
        attach(unet)
    results = []
    for scale in ([0.4, 1.2], [1.2, 0.0]):
        for unet in (compiled, eager):
            set_ip_adapter_scales(unet, [scale])
        results += [assert_equals_eager(compiled, eager, masks=mask) for mask in masks]
    assert len(programs) == 1
    assert all(relative_distance(one, other) > 1e-3 for one, other in zip(results, results[1:]))


def test_new_and_removed_adapters_are_detected(program_cache, programs):
    compiled, eager = compile(tiny_unet()), tiny_unet()

    def plain(unet):
        with paddle.no_grad():
            return unet(*unet_inputs()).sample

    expected = plain(compiled)
    for unet in (compiled, eager):
        attach(unet, ImageProjection(10, 24, 4), ImageProjection(12, 24, 4))
    images = noise((2, 2, 10), "images"), noise((2, 1, 12), "more images")
    assert_equals_eager(compiled, eager, *images)
    for unet in (compiled, eager):
        detach_ip_adapters(unet)
    entries = len(list(program_cache.glob("program-*")))
    assert np.array_equal(plain(eager), expected) and relative_distance(plain(compiled), expected) <= 1e-4
    assert len(list(program_cache.glob("program-*"))) == entries, "the first program is valid again"


def test_hidden_states_of_faces_are_inputs(program_cache, programs):
    def projection():
        return IPAdapterFaceIDPlusImageProjection(24, 24, 14, 10, depth=2, heads=1)

    compiled, eager = compile(tiny_unet()), tiny_unet()
    results = []
    for unet in (compiled, eager):
        attach(unet, projection())
    for name in ("one", "two"):
        for unet in (compiled, eager):
            unet.encoder_hid_proj.image_projection_layers[0].clip_embeds = paddle.to_tensor(noise((2, 1, 5, 14), name))
        results.append(assert_equals_eager(compiled, eager, noise((2, 1, 10), "faces")))
    assert relative_distance(*results) > 1e-3 and len(programs) == 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_freeu(backend, program_cache, programs):
    compiled, eager = compile(tiny_unet(), backend=backend), tiny_unet()
    results = []
    for factors in ((0.9, 0.2, 1.5, 1.6), None):
        for unet in (compiled, eager):
            unet.disable_freeu() if factors is None else unet.enable_freeu(*factors)
        with paddle.no_grad():
            expected = eager(*unet_inputs()).sample
            for _ in range(2):
                assert relative_distance(compiled(*unet_inputs()).sample, expected) <= 1e-4
        results.append(expected)
    assert len(programs) == 2 and relative_distance(*results) > 1e-3
