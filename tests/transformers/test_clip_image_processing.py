"""The image processor against transformers' (the slow one)."""

import json

import numpy as np
import pytest
import transformers
from PIL import Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.transformers import CLIPImageProcessor


def pictures():
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
    for n, picture in enumerate(pictures()):
        forms = [picture]
        if picture.mode == "RGB":
            forms += [np.asarray(picture), np.asarray(picture).transpose(2, 0, 1), np.asarray(picture) / 255.0]
        for form in forms:
            mine = ours(form, return_tensors="np").pixel_values
            expected = theirs(form, return_tensors="np").pixel_values
            np.testing.assert_allclose(
                mine, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()), err_msg=str(n)
            )


def test_lists_and_paddle():
    ours = CLIPImageProcessor(**OPTIONS[0])
    batch = list(pictures())[:4]
    together = ours(batch, return_tensors="pd").pixel_values
    assert list(together.shape) == [4, 3, 24, 24]
    assert np.array_equal(together.numpy()[2], ours(batch[2], return_tensors="np").pixel_values[0])


def test_files_of_both_forms(tmp_path):
    transformers.CLIPImageProcessor(**OPTIONS[0]).save_pretrained(tmp_path / "new")
    ours = CLIPImageProcessor.from_pretrained(tmp_path / "new")
    ours.save_pretrained(tmp_path / "ours")
    theirs = transformers.CLIPImageProcessor.from_pretrained(tmp_path / "ours")
    old = {
        "crop_size": 24, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 24,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4],
    }  # fmt: skip
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "preprocessor_config.json").write_text(json.dumps(old))
    for picture in pictures():
        for mine, reference in (
            (ours, theirs),
            (CLIPImageProcessor.from_pretrained(tmp_path / "old"),
             transformers.CLIPImageProcessor.from_pretrained(tmp_path / "old")),
        ):  # fmt: skip
            a, b = mine(picture, return_tensors="np"), reference(picture, return_tensors="np")
            np.testing.assert_allclose(a.pixel_values, b.pixel_values, rtol=0, atol=3e-6)


def test_settings_that_replace(tmp_path):
    CLIPImageProcessor(**OPTIONS[0]).save_pretrained(tmp_path)
    changed = {"size": {"height": 12, "width": 18}, "do_center_crop": False}
    ours = CLIPImageProcessor.from_pretrained(tmp_path, **changed)
    theirs = transformers.CLIPImageProcessor.from_pretrained(tmp_path, **changed)
    picture = next(pictures())
    expected = theirs(picture, return_tensors="np").pixel_values
    once = CLIPImageProcessor.from_pretrained(tmp_path)(picture, return_tensors="np", **changed)
    for mine in (ours(picture, return_tensors="np"), once):
        np.testing.assert_allclose(mine.pixel_values, expected, rtol=0, atol=1e-6)


def test_bad_inputs():
    ours = CLIPImageProcessor()
    with pytest.raises(InputError, match="colour='red'"):
        ours(next(pictures()), colour="red")
    with pytest.raises(InputError, match="'pt'"):
        ours(next(pictures()), return_tensors="pt")
    with pytest.raises(InputError, match="0 to 1"):
        ours(np.full((30, 30, 3), 1.5))
    with pytest.raises(InputError, match="shape"):
        ours(np.zeros((30, 30, 7)))
