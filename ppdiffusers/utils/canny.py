"""Edges as control images. Canny, "A Computational Approach to Edge Detection", IEEE PAMI 8 (1986)."""

from __future__ import annotations

import numpy as np
import PIL.Image

from ppdiffusers.core.extras import available, need

_TAN_22_5, _TAN_67_5 = np.sqrt(2) - 1, np.sqrt(2) + 1


def canny(image: PIL.Image.Image, low_threshold: float = 100, high_threshold: float = 200) -> PIL.Image.Image:
    """White edges on black, as an RGB image, for ControlNets that are trained on edges.

    OpenCV is used if it is installed (`pip install opencv-python-headless`), otherwise `canny_with_numpy`.

    Args:
        image: of any mode and size.
        low_threshold, high_threshold: of the gradient. Pixels above the high threshold are edges, and so are pixels
            above the low threshold that are connected with them.
    """
    pixels = np.asarray(image.convert("RGB"))  # [H, W, 3]
    if available("cv2"):
        edges = need("cv2", "to detect edges").Canny(pixels, low_threshold, high_threshold)  # [H, W]
    else:
        edges = canny_with_numpy(pixels, low_threshold, high_threshold)
    return PIL.Image.fromarray(np.repeat(edges[..., None], 3, axis=2))


def canny_with_numpy(pixels: np.ndarray, low_threshold: float, high_threshold: float) -> np.ndarray:
    """Detect edges without OpenCV: [H, W, C] in 0 to 255 -> [H, W] of 0 and 255.

    Sobel gradients of the channel where they are largest, their L1 norm, non-maximum suppression, hysteresis.
    """
    dx, dy = _gradient(pixels.astype(np.int64))  # [H, W] each
    norm = np.abs(dx) + np.abs(dy)
    thin = np.where(_is_maximum(norm, dx, dy), norm, 0)
    return (_connected(thin > high_threshold, thin > low_threshold) * 255).astype(np.uint8)


def _gradient(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")  # [H + 2, W + 2, C]
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]  # [H, W + 2, C]
    columns = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]  # [H + 2, W, C]
    dx, dy = rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]  # [H, W, C]
    channel = (np.abs(dx) + np.abs(dy)).argmax(axis=2)[..., None]  # [H, W, 1]
    return tuple(np.take_along_axis(d, channel, axis=2)[..., 0] for d in (dx, dy))


def _is_maximum(norm: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Whether the norm is not smaller than that of both neighbors in the direction of the gradient."""
    padded = np.pad(norm, 1)

    def neighbor(down: int, right: int) -> np.ndarray:
        return padded[1 + down : 1 + down + norm.shape[0], 1 + right : 1 + right + norm.shape[1]]

    # of two equal neighbors the first one is an edge
    horizontal = (norm > neighbor(0, -1)) & (norm >= neighbor(0, 1))
    vertical = (norm > neighbor(-1, 0)) & (norm >= neighbor(1, 0))
    falling = (norm > neighbor(-1, -1)) & (norm > neighbor(1, 1))
    rising = (norm > neighbor(-1, 1)) & (norm > neighbor(1, -1))
    steep = np.abs(dy) > np.abs(dx) * _TAN_67_5
    flat = np.abs(dy) < np.abs(dx) * _TAN_22_5
    diagonal = np.where(np.sign(dx) * np.sign(dy) < 0, rising, falling)
    return np.where(flat, horizontal, np.where(steep, vertical, diagonal))


def _connected(strong: np.ndarray, weak: np.ndarray) -> np.ndarray:
    """The weak pixels that are connected with a strong one, diagonally too."""
    edges = strong & weak
    while True:
        padded = np.pad(edges, 1)
        rows = padded[:-2] | padded[1:-1] | padded[2:]  # [H, W + 2]
        grown = (rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]) & weak
        if (grown == edges).all():
            return edges
        edges = grown
