"""PIL images of every mode as 8-bit RGB or grayscale."""

import numpy as np
import PIL.Image
import pytest

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.utils.pil_modes import rgb_images, to_grayscale, to_rgb

RAMP = np.linspace(0, 255, 48).astype(np.uint8).reshape(6, 8)  # [H, W]
COLORS = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)  # [H, W, 3]


def as_levels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_opaque_modes_are_those_of_pil(mode):
    image = PIL.Image.fromarray(COLORS).convert(mode)
    assert to_rgb(image).mode == "RGB"
    assert np.array_equal(to_rgb(image), image.convert("RGB"))
    assert np.array_equal(to_grayscale(image), image.convert("L"))


def test_lab():
    image = PIL.Image.new("LAB", (2, 2), (255, 128, 128))
    assert np.abs(as_levels(to_rgb(image)) - 255).max() <= 1
    assert np.abs(as_levels(to_grayscale(image)) - 255).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_transparent_images_are_composited_over_white(mode):
    alpha = PIL.Image.new("L", (8, 6), 255)
    alpha.paste(0, (4, 0, 8, 6))
    image = PIL.Image.fromarray(COLORS)
    image.putalpha(alpha)
    image = image.convert("LA") if mode in ("LA", "La") else image
    found = as_levels(to_rgb(image.convert(mode)))  # [H, W, 3]
    visible = image.convert("PA").convert("RGBA") if mode == "PA" else image  # PIL reduces it to 256 colors
    opaque = as_levels(visible.convert("RGB"))[:, :4]
    assert np.array_equal(found[:, :4], opaque)
    assert (found[:, 4:] == 255).all()


def test_partial_transparency():
    assert to_rgb(PIL.Image.new("RGBA", (1, 1), (0, 0, 0, 51))).getpixel((0, 0)) == (204, 204, 204)


def test_transparent_color_of_a_palette(tmp_path):
    image = PIL.Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "palette.png", transparency=1)
    opened = PIL.Image.open(tmp_path / "palette.png")
    assert opened.mode == "P"
    assert as_levels(to_rgb(opened)).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.uint16) * 257,  # I;16
        RAMP.astype(np.int32) * 257,  # I, as PIL opened 16-bit files before
        RAMP.astype(np.int32),
        RAMP.astype(np.float32) / 255,  # F
        RAMP.astype(np.float32),
        RAMP.astype(np.float32) * 257,
    ],
)
def test_modes_with_more_than_8_bits_are_scaled_by_their_range(values):
    image = PIL.Image.fromarray(values)
    assert np.array_equal(to_grayscale(image), RAMP)
    assert np.array_equal(as_levels(to_rgb(image))[..., 1], RAMP)


def test_16_bit_files(tmp_path):
    PIL.Image.fromarray(RAMP.astype(np.uint16) * 257).save(tmp_path / "ramp.png")
    assert np.array_equal(to_grayscale(PIL.Image.open(tmp_path / "ramp.png")), RAMP)


def test_big_endian_16_bits():
    image = PIL.Image.frombytes("I;16B", (8, 6), (RAMP.astype(">u2") * 257).astype(">u2").tobytes())
    assert np.array_equal(to_grayscale(image), RAMP)


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.0, 70000.0], [0.0, float("nan")]])
def test_values_outside_of_the_range(values):
    with pytest.raises(InputError, match="An image of mode F has values from"):
        to_rgb(PIL.Image.fromarray(np.array([values], dtype=np.float32)))


def test_lists_and_other_values():
    array = np.zeros((4, 4, 4))
    assert rgb_images(array) is array
    assert [image.mode for image in rgb_images([PIL.Image.new("CMYK", (2, 2)), PIL.Image.new("L", (2, 2))])] == [
        "RGB",
        "RGB",
    ]


@pytest.mark.parametrize("mode", ["1", "I;16", "F", "RGBA", "P"])
def test_masks(mode):
    """A mask of every mode is binarized at half of its range, after resizing."""
    processor = VaeImageProcessor(do_normalize=False, do_binarize=True, do_convert_grayscale=True)
    levels = np.zeros((16, 24), dtype=np.uint8)
    levels[:, 8:] = 255
    levels[8:, 8:] = 100  # below half
    expected = (levels >= 128)[None, None]
    if mode == "1":
        image = PIL.Image.fromarray(expected[0, 0])
    elif mode == "I;16":
        image = PIL.Image.fromarray(levels.astype(np.uint16) * 257)
    elif mode == "F":
        image = PIL.Image.fromarray(levels.astype(np.float32) / 255)
    else:
        image = PIL.Image.fromarray(levels).convert(mode)
    assert np.array_equal(processor.preprocess(image).numpy() == 1, expected)
