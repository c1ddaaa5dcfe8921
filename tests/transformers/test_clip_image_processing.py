"""CLIPImageProcessor against transformers'."""

import json

import numpy as np
import pytest
import transformers
from PIL import Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.transformers import CLIPImageProcessor


def images():
    rng = np.random.default_rng(0)
    for shape in ((30, 45, 3), (45, 30, 3), (24, 24, 3), (7, 90, 3)):
        yield Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    yield Image.fromarray(rng.integers(0, 256, (30, 40), dtype=np.uint8))
    yield Image.fromarray(rng.integers(0, 256, (30, 40, 4), dtype=np.uint8))


OPTIONS = [
    {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}},
    {"size": {"height": 20, "width": 30}, "crop_size": {"height": 16, "width": 40}},
    {"size": {"shortest_edge": 24}, "crop_size": 32, "resample": 2},
    {"do_resize": False, "crop_size": 40},
    {"do_center_crop": False, "size": {"height": 20, "width": 20}, "do_normalize": False},
    {
        "size": {"shortest_edge": 24},
        "crop_size": 20,
        "do_rescale": False,
        "image_mean": [1.0, 2, 3],
        "image_std": [4.0, 5, 6],
    },
]


@pytest.mark.parametrize("options", OPTIONS)
def test_pixels_equal(options):
    ours, theirs = CLIPImageProcessor(**options), transformers.CLIPImageProcessor(**options)
    for n, image in enumerate(images()):
        forms = [image]
        if image.mode == "RGB":
            forms += [np.asarray(image), np.asarray(image).transpose(2, 0, 1), np.asarray(image) / 255.0]
        for form in forms:
            mine = ours(form, return_tensors="np").pixel_values
            expected = theirs(form, return_tensors="np").pixel_values
            np.testing.assert_allclose(
                mine, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()), err_msg=str(n)
            )


def test_batches_as_paddle_tensors():
    ours = CLIPImageProcessor(**OPTIONS[0])
    batch = list(images())[:4]
    pixel_values = ours(batch, return_tensors="pd").pixel_values
    assert list(pixel_values.shape) == [4, 3, 24, 24]
    assert np.array_equal(pixel_values.numpy()[2], ours(batch[2], return_tensors="np").pixel_values[0])


def test_current_and_legacy_files(tmp_path):
    transformers.CLIPImageProcessor(**OPTIONS[0]).save_pretrained(tmp_path / "new")
    ours = CLIPImageProcessor.from_pretrained(tmp_path / "new")
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.CLIPImageProcessor.from_pretrained(tmp_path / "ours")
    legacy = {
        "crop_size": 24, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 24,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
    }  # fmt: skip
    (tmp_path / "legacy").mkdir()
    (tmp_path / "legacy" / "preprocessor_config.json").write_text(json.dumps(legacy))
    for image in images():
        for mine, reference in (
            (ours, theirs),
            (CLIPImageProcessor.from_pretrained(tmp_path / "legacy"),
             transformers.CLIPImageProcessor.from_pretrained(tmp_path / "legacy")),
        ):  # fmt: skip
            a, b = mine(image, return_tensors="np"), reference(image, return_tensors="np")
            np.testing.assert_allclose(a.pixel_values, b.pixel_values, rtol=0, atol=3e-6)


def test_overridden_settings(tmp_path):
    CLIPImageProcessor(**OPTIONS[0]).save_pretrained(tmp_path)
    changed = {"size": {"height": 12, "width": 18}, "do_center_crop": False}
    ours = CLIPImageProcessor.from_pretrained(tmp_path, **changed)
    theirs = transformers.CLIPImageProcessor.from_pretrained(tmp_path, **changed)
    image = next(images())
    expected = theirs(image, return_tensors="np").pixel_values
    overridden_in_call = CLIPImageProcessor.from_pretrained(tmp_path)(image, return_tensors="np", **changed)
    for mine in (ours(image, return_tensors="np"), overridden_in_call):
        np.testing.assert_allclose(mine.pixel_values, expected, rtol=0, atol=1e-6)


def test_bad_inputs():
    ours = CLIPImageProcessor()
    with pytest.raises(InputError, match="color='red'"):
        ours(next(images()), color="red")
    with pytest.raises(InputError, match="'pt'"):
        ours(next(images()), return_tensors="pt")
    with pytest.raises(InputError, match="0 to 1"):
        ours(np.full((30, 30, 3), 1.5))
    with pytest.raises(InputError, match="shape"):
        ours(np.zeros((30, 30, 7)))
