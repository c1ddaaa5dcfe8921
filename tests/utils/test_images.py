"""load_image and make_image_grid against diffusers."""

import http.server
import threading

import numpy as np
import pytest
from diffusers.utils import load_image as reference_load
from diffusers.utils import make_image_grid as reference_grid
from PIL import Image

from ppdiffusers.core.errors import InputError, SourceError
from ppdiffusers.utils import load_image, make_image_grid


def random_image(seed, size=(7, 5), mode="RGB"):
    channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    return Image.fromarray(pixels, mode)


def assert_same(ours, theirs):
    assert (ours.mode, ours.size) == (theirs.mode, theirs.size)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_files_and_images(tmp_path, mode):
    path = tmp_path / "image.png"
    random_image(0, mode=mode).save(path)
    assert_same(load_image(str(path)), reference_load(str(path)))
    assert_same(load_image(path), reference_load(str(path)))
    assert_same(load_image(random_image(0, mode=mode)), reference_load(random_image(0, mode=mode)))
    assert load_image(path, convert_method=lambda image: image).mode == mode


def test_exif_orientation(tmp_path):
    path = tmp_path / "rotated.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    random_image(1).save(path, exif=exif)
    assert load_image(path).size == (5, 7)
    assert_same(load_image(path), reference_load(str(path)))


@pytest.fixture
def server(tmp_path):
    random_image(2).save(tmp_path / "image.png")
    (tmp_path / "text.png").write_text("not an image")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=tmp_path)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_urls(server):
    assert_same(load_image(f"{server}/image.png"), random_image(2))
    with pytest.raises(SourceError, match="404"):
        load_image(f"{server}/missing.png")
    with pytest.raises(InputError, match="not an image"):
        load_image(f"{server}/text.png")


def test_invalid_images(tmp_path):
    with pytest.raises(SourceError, match="could not be reached"):
        load_image("http://127.0.0.1:9/image.png")
    with pytest.raises(SourceError, match="does not exist"):
        load_image(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(InputError, match="text.png"):
        load_image(tmp_path / "text.png")
    with pytest.raises(InputError, match="int"):
        load_image(3)


@pytest.mark.parametrize("resize", [None, 8])
def test_grids(resize):
    images = [random_image(seed) for seed in range(6)]
    assert_same(make_image_grid(images, 2, 3, resize), reference_grid(images, 2, 3, resize))
    with pytest.raises(InputError, match="4 images"):
        make_image_grid(images, 2, 2)
