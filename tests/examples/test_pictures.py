"""The input pictures of the example scripts: drawn when nothing is given, read and resized when a path is."""

import numpy as np
import PIL.Image

from examples.inference import pictures
from tests.pipelines.support import make_image


def test_drawn():
    image, mask = pictures.load(None, 96, 64), pictures.load_mask(None, 96, 64)
    assert (image.mode, mask.mode, image.size, mask.size) == ("RGB", "L", (96, 64), (96, 64))
    assert np.asarray(image).std() > 20
    assert set(np.unique(mask)) == {0, 255}


def test_read(tmp_path):
    make_image(40, 30).convert("RGBA").save(tmp_path / "a.png")
    box = PIL.Image.new("RGB", (40, 30))
    box.paste("white", (10, 0, 40, 30))
    box.save(tmp_path / "mask.png")
    image, mask = pictures.load(tmp_path / "a.png", 40, 30), pictures.load_mask(tmp_path / "mask.png", 20, 15)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(make_image(40, 30)))
    np.testing.assert_array_equal(np.asarray(mask)[0], [0] * 5 + [255] * 15)
