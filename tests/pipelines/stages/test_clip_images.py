"""Images for CLIP's image encoder."""

from types import SimpleNamespace

import numpy as np
import paddle
import PIL.Image
import pytest

from ppdiffusers.pipelines.stages.clip_images import check_clip_images, clip_pixels, count_images
from ppdiffusers.pipelines.stages.image_prompts import encode_image
from ppdiffusers.transformers import CLIPImageProcessor
from tests.pipelines.support import make_image

PROCESSOR = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


class Encoder(paddle.nn.Layer):
    """Returns the mean of each channel as the embedding."""

    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([1])

    def forward(self, pixels, return_dict=True):
        return SimpleNamespace(image_embeds=pixels.mean(axis=[2, 3]))


def transparent():
    """An image whose left half is transparent, and the same over white."""
    image = make_image(40, 36).convert("RGBA")
    image.putalpha(PIL.Image.fromarray(np.repeat([[0] * 20 + [255] * 20], 36, axis=0).astype(np.uint8)))
    over_white = PIL.Image.new("RGB", image.size, "white")
    over_white.paste(image, mask=image.getchannel("A"))
    return image, over_white


def test_transparent_images_are_put_over_white():
    image, over_white = transparent()
    found, expected = (clip_pixels(one, PROCESSOR, Encoder()).numpy() for one in (image, over_white))
    assert found.shape == (1, 3, 32, 32) and found.std() > 0.1
    np.testing.assert_array_equal(found, expected)
    opaque = clip_pixels(image.convert("RGB"), PROCESSOR, Encoder()).numpy()
    assert np.abs(found - opaque).max() > 0.5  # the transparent half has other colors below


def test_image_prompts_are_put_over_white():
    image, over_white = transparent()
    found, expected = (encode_image(Encoder(), PROCESSOR, one)[0].numpy() for one in (image, over_white))
    np.testing.assert_array_equal(found, expected)


def test_tensors_are_preprocessed_already():
    pixels = paddle.rand([2, 3, 32, 32])
    np.testing.assert_array_equal(clip_pixels(pixels, None, Encoder()).numpy(), pixels.numpy())
    assert clip_pixels(pixels.astype("float64"), None, Encoder()).dtype == paddle.float32


@pytest.mark.parametrize(
    ("image", "count"),
    [
        (make_image(8, 8), 1),
        ([make_image(8, 8)] * 3, 3),
        (paddle.zeros([2, 3, 8, 8]), 2),
        (paddle.zeros([3, 8, 8]), None),
        ([], None),
        ([make_image(8, 8), "cat.png"], None),
        ("cat.png", None),
    ],
    ids=["image", "list", "batch", "one tensor", "empty list", "list with a path", "path"],
)
def test_counts(image, count):
    assert count_images(image) == count
    assert bool(check_clip_images(image)) == (count is None)
