"""VaeImageProcessor against diffusers'."""

import diffusers.image_processor as original
import numpy as np
import paddle
import PIL.Image
import pytest
import torch

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import VaeImageProcessor
from tests.support.parity import rng_for, to_numpy


def pil_image(width=45, height=37, mode="RGB", name="image"):
    pixels = rng_for(name).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels).convert(mode)


def array(*shape, name="array"):
    return rng_for(name).random(shape).astype(np.float32)


def both(**settings):
    return VaeImageProcessor(**settings), original.VaeImageProcessor(**settings)


def assert_same(ours, theirs):
    ours, theirs = to_numpy(ours), to_numpy(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"vae_scale_factor": 2, "resample": "bilinear"},
        {"resample": "bicubic", "reducing_gap": 2},
        {"resample": "nearest", "do_normalize": False},
        {"do_resize": False},
        {"do_convert_grayscale": True, "do_binarize": True, "do_normalize": False},
        {"do_convert_rgb": True, "do_normalize": False, "do_binarize": True},
    ],
)
@pytest.mark.parametrize("size", [{}, {"height": 64, "width": 24}, {"width": 50}])
def test_preprocess_pil(settings, size):
    ours, theirs = both(**settings)
    for given in (pil_image(), [pil_image(), pil_image(name="other")]):
        assert_same(ours.preprocess(given, **size), theirs.preprocess(given, **size))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_preprocess_pil_modes(mode):
    ours, theirs = both(do_convert_rgb=True)
    assert_same(ours.preprocess(pil_image(mode=mode)), theirs.preprocess(pil_image(mode=mode)))
    ours, theirs = both()
    if mode == "L":
        assert_same(ours.preprocess(pil_image(mode=mode)), theirs.preprocess(pil_image(mode=mode)))


@pytest.mark.parametrize("settings", [{}, {"do_convert_grayscale": True, "do_normalize": False}, {"do_binarize": True}])
@pytest.mark.parametrize(
    "shape",
    [(37, 45, 3), (2, 37, 45, 3), (37, 45, 1), (2, 16, 24), (16, 24)],
    ids=lambda shape: "x".join(map(str, shape)),
)
@pytest.mark.parametrize("as_list", [False, True])
def test_preprocess_arrays(settings, shape, as_list):
    ours, theirs = both(**settings)
    value = array(*shape)
    if len(shape) == 3 and shape[0] == 2 and not settings.get("do_convert_grayscale"):
        value = array(24, 16, 3)
    if as_list and value.ndim == 4:
        with pytest.warns(FutureWarning):
            expected = theirs.preprocess([value, value], height=32, width=16)
        assert_same(ours.preprocess([value, value], height=32, width=16), expected)
        return
    given = [value, value] if as_list else value
    if given is value and value.ndim == 2 and settings.get("do_convert_grayscale"):
        given = [value]
    assert_same(ours.preprocess(given, height=32, width=16), theirs.preprocess(given, height=32, width=16))


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ((3, 37, 45), {}),
        ((2, 3, 37, 45), {}),
        ((2, 4, 5, 7), {}),  # latents
        ((2, 24, 16), {"do_convert_grayscale": True, "do_normalize": False, "do_binarize": True}),
        ((2, 1, 24, 16), {"do_normalize": False, "do_binarize": True}),
    ],
)
def test_preprocess_tensors(shape, settings):
    ours, theirs = both(**settings)
    value = array(*shape)
    assert_same(ours.preprocess(paddle.to_tensor(value)), theirs.preprocess(torch.from_numpy(value)))
    if len(shape) == 3 and shape[0] == 3:
        given = [paddle.to_tensor(value)] * 2, [torch.from_numpy(value)] * 2
        assert_same(ours.preprocess(given[0], 40, 24), theirs.preprocess(given[1], 40, 24))


def test_normalized_images_are_not_normalized_again():
    ours, theirs = both()
    value = 2 * array(1, 3, 16, 16) - 1
    with pytest.warns(FutureWarning):
        expected = theirs.preprocess(torch.from_numpy(value))
    with pytest.warns(FutureWarning, match="already"):
        assert_same(ours.preprocess(paddle.to_tensor(value)), expected)


@pytest.mark.parametrize("mode", ["default", "fill", "crop"])
@pytest.mark.parametrize("size", [(64, 24), (24, 64), (40, 40), (37, 45)])
def test_resize_modes(mode, size):
    ours, theirs = both()
    height, width = size
    mine = ours.resize(pil_image(), height, width, mode)
    assert mine.tobytes() == theirs.resize(pil_image(), height, width, mode).tobytes()
    processed = ours.preprocess(pil_image(), height, width, mode, crops_coords=(3, 5, 40, 33))
    assert_same(processed, theirs.preprocess(pil_image(), height, width, mode, crops_coords=(3, 5, 40, 33)))


def test_resize_arrays():
    ours, theirs = both()
    value = array(2, 37, 45, 3)
    for height, width in ((64, 24), (11, 90), (37, 45)):
        assert_same(ours.resize(value, height, width), theirs.resize(value, height, width))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flags", [None, [True, False]])
@pytest.mark.parametrize("do_normalize", [True, False])
def test_postprocess(channels, flags, do_normalize):
    ours, theirs = both(do_normalize=do_normalize)
    value = array(2, channels, 9, 13)
    value = 3 * value - 1.5 if do_normalize and flags is None else value
    mine, reference = paddle.to_tensor(value), torch.from_numpy(value)
    assert_same(ours.postprocess(mine, "pd", flags), theirs.postprocess(reference, "pt", flags))
    assert_same(ours.postprocess(mine, "pt", flags), theirs.postprocess(reference, "pt", flags))
    assert_same(ours.postprocess(mine, "np", flags), theirs.postprocess(reference, "np", flags))
    assert ours.postprocess(mine, "latent") is mine
    found = ours.postprocess(mine, "pil", flags)
    expected = theirs.postprocess(reference, "pil", flags)
    assert [(i.size, i.mode, i.tobytes()) for i in found] == [(i.size, i.mode, i.tobytes()) for i in expected]


def test_masks():
    mask = PIL.Image.new("L", (90, 60))
    mask.paste(255, (20, 30, 41, 44))
    ours, theirs = both()
    for width, height, pad in ((64, 64, 0), (64, 16, 3), (16, 64, 30), (512, 512, 100)):
        assert ours.get_crop_region(mask, width, height, pad) == theirs.get_crop_region(mask, width, height, pad)
    for corner in ((0, 0, 5, 5), (80, 50, 90, 60), (0, 50, 3, 60), (85, 0, 90, 55)):
        mask = PIL.Image.new("L", (90, 60))
        mask.paste(255, corner)
        for width, height in ((64, 64), (16, 64), (64, 16)):
            assert ours.get_crop_region(mask, width, height, 4) == theirs.get_crop_region(mask, width, height, 4)
    assert ours.blur(mask, 5).tobytes() == theirs.blur(mask, 5).tobytes()
    with pytest.raises(InputError, match="black everywhere"):
        ours.get_crop_region(PIL.Image.new("L", (8, 8)), 8, 8)


@pytest.mark.parametrize("crop", [None, (20, 10, 70, 50)])
def test_apply_overlay(crop):
    ours, theirs = both()
    mask = ours.blur(PIL.Image.new("L", (90, 60)), 0)
    mask.paste(255, (20, 30, 41, 44))
    mask = ours.blur(mask, 3)
    original_image, generated = pil_image(90, 60), pil_image(90, 60, name="generated")
    assert ours.apply_overlay(mask, original_image, generated, crop).tobytes() == (
        theirs.apply_overlay(mask, original_image, generated, crop).tobytes()
    )


def test_config_round_trip(tmp_path):
    VaeImageProcessor(vae_scale_factor=4, resample="bicubic").save_config(tmp_path)
    loaded = VaeImageProcessor.from_config(VaeImageProcessor.load_config(tmp_path))
    assert (loaded.config.vae_scale_factor, loaded.config.resample) == (4, "bicubic")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("a path.png", "Unsupported image: str"),
        ([], "empty list"),
        (np.zeros((2, 2, 2, 2, 2)), r"shape \(2, 2, 2, 2, 2\)"),
        ([pil_image(), array(8, 8, 3)], "images of several types"),
        (rng_for("levels").integers(0, 256, (16, 16, 3), dtype=np.uint8), "divide by 255"),
    ],
)
def test_unsupported_images(image, message):
    with pytest.raises(InputError, match=message):
        VaeImageProcessor().preprocess(image)


def test_other_errors():
    with pytest.raises(InputError, match="do_convert_rgb(.|\n)*resample"):
        VaeImageProcessor(do_convert_rgb=True, do_convert_grayscale=True, resample="sharp")
    with pytest.raises(InputError, match="differ in size"):
        VaeImageProcessor(do_resize=False).preprocess([pil_image(8, 8), pil_image(16, 8)])
    with pytest.raises(InputError, match="resize_mode"):
        VaeImageProcessor().resize(pil_image(), 8, 8, "squeeze")
    with pytest.raises(InputError, match="PIL"):
        VaeImageProcessor().resize(array(1, 8, 8, 3), 8, 8, "fill")
    with pytest.raises(InputError, match="output_type"):
        VaeImageProcessor().postprocess(paddle.zeros([1, 3, 8, 8]), "jpeg")
    with pytest.raises(InputError, match="Paddle tensor"):
        VaeImageProcessor().postprocess(array(1, 3, 8, 8), "pil")
