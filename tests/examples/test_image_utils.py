"""Input images of the example scripts: built-in examples, or read from a file and resized."""

import numpy as np
import PIL.Image

from examples.inference import image_utils


def random_image(width: int, height: int) -> PIL.Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def test_built_in_examples():
    image, mask = image_utils.load(None, 96, 64), image_utils.load_mask(None, 96, 64)
    assert (image.mode, mask.mode, image.size, mask.size) == ("RGB", "L", (96, 64), (96, 64))
    assert np.asarray(image).std() > 20
    assert set(np.unique(mask)) == {0, 255}


def test_files(tmp_path):
    random_image(40, 30).convert("RGBA").save(tmp_path / "a.png")
    box = PIL.Image.new("RGB", (40, 30))
    box.paste("white", (10, 0, 40, 30))
    box.save(tmp_path / "mask.png")
    image, mask = image_utils.load(tmp_path / "a.png", 40, 30), image_utils.load_mask(tmp_path / "mask.png", 20, 15)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(random_image(40, 30)))
    np.testing.assert_array_equal(np.asarray(mask)[0], [0] * 5 + [255] * 15)
