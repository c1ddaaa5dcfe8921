"""Running a safety checker on tensors and arrays."""

import numpy as np
import paddle

from ppdiffusers.image_processor import VaeImageProcessor
from ppdiffusers.pipelines.stages.safety import run_safety_checker

PROCESSOR = VaeImageProcessor(vae_scale_factor=8)


class Checker:
    """Flags the second image, and records its inputs."""

    def __call__(self, images, clip_input):
        self.images, self.clip_input = images, clip_input
        return images, [False, True]


def feature_extractor(images, return_tensors):
    """The mean of each image, as an image of one pixel."""
    assert return_tensors == "np"
    return {"pixel_values": [np.asarray(image).mean(axis=(0, 1)).reshape(3, 1, 1) for image in images]}


def test_without_a_checker():
    image = paddle.zeros([1, 3, 8, 8])
    assert run_safety_checker(None, None, PROCESSOR, image, "float32") == (image, None)


def test_tensors_and_arrays():
    """The feature extractor gets the same 8-bit images, whether they are in [-1, 1] or in [0, 1]."""
    array = np.random.default_rng(0).random((2, 8, 8, 3)).astype(np.float32)
    tensor = paddle.to_tensor(array.transpose(0, 3, 1, 2) * 2 - 1)
    inputs = []
    for images in (array, tensor):
        checker = Checker()
        result, flags = run_safety_checker(checker, feature_extractor, PROCESSOR, images, "float32")
        assert result is checker.images is images and flags == [False, True]
        assert checker.clip_input.shape == [2, 3, 1, 1] and checker.clip_input.dtype == paddle.float32
        inputs.append(checker.clip_input.numpy())
    np.testing.assert_allclose(inputs[0], inputs[1], atol=0.5)
    np.testing.assert_allclose(inputs[0][..., 0, 0], array.mean(axis=(1, 2)) * 255, atol=1)
