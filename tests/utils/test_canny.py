"""Edges as control images, by numpy and by OpenCV."""

import sys
from types import SimpleNamespace

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest

from ppdiffusers.utils import canny as module
from ppdiffusers.utils.canny import canny, canny_with_numpy


def drawing(level: int = 200) -> PIL.Image.Image:
    """A rectangle from (10, 8) to (29, 23) on black."""
    image = PIL.Image.new("RGB", (48, 32))
    PIL.ImageDraw.Draw(image).rectangle((10, 8, 29, 23), fill=(level, 0, 0))
    return image


def test_the_outline_of_a_rectangle():
    edges = canny_with_numpy(np.asarray(drawing()), 100, 200) > 0
    assert edges[15].nonzero()[0].tolist() in ([9, 29], [9, 30], [10, 29], [10, 30])
    assert edges[:, 20].nonzero()[0].tolist() in ([7, 23], [7, 24], [8, 23], [8, 24])
    assert 60 < edges.sum() < 80, "one pixel wide"


def test_the_outline_of_a_disk_is_closed():
    image = PIL.Image.new("L", (64, 64))
    PIL.ImageDraw.Draw(image).ellipse((12, 12, 50, 50), fill=255)
    edges = np.asarray(canny(image).convert("L")) > 0
    inside = np.zeros_like(edges)
    inside[30, 30] = True
    inside = module._connected(inside, ~edges & _four_neighbors_only(edges))
    assert not inside[0].any() and inside.sum() > 500


def _four_neighbors_only(edges):
    """Pixels that are not next to an edge, so that a diagonal step cannot cross it."""
    padded = np.pad(edges, 1)
    return ~(padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:])


def test_thresholds():
    """Weak edges count only where they are connected with strong ones."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, 24:], pixels[16:, 24:] = 255, 40  # strong above, weak (gradient 160) below
    connected = canny_with_numpy(pixels, 100, 600)
    assert (connected[4:28].max(axis=1) == 255).all()
    assert not canny_with_numpy(pixels, 500, 600)[20:].any()
    assert not canny_with_numpy(np.full((32, 48, 3), 40, np.uint8), 100, 200).any()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_result_is_rgb(mode):
    edges = canny(drawing().convert(mode))
    assert (edges.mode, edges.size) == ("RGB", (48, 32))
    assert set(np.unique(edges)) == {0, 255}


def test_opencv_is_used_where_it_is_installed(monkeypatch):
    fake = SimpleNamespace(Canny=lambda pixels, low, high: np.full(pixels.shape[:2], low + high, np.uint8))
    monkeypatch.setitem(sys.modules, "cv2", fake)
    monkeypatch.setattr(module, "available", lambda name: name == "cv2")
    assert set(np.unique(canny(drawing(), 10, 20))) == {30}
