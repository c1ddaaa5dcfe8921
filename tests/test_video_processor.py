"""VideoProcessor gives diffusers' tensors and frames."""

import diffusers.video_processor as original
import numpy as np
import paddle
import PIL.Image
import pytest
import torch

from ppdiffusers.core.errors import InputError
from ppdiffusers.video_processor import VideoProcessor

RANDOM = np.random.default_rng(0)
FRAMES = [PIL.Image.fromarray(RANDOM.integers(0, 256, (20, 28, 3), dtype=np.uint8)) for _ in range(3)]
ARRAY = RANDOM.uniform(size=(2, 3, 16, 24, 3)).astype(np.float32)  # [B, F, H, W, C]
VIDEOS = {
    "images": (FRAMES, FRAMES),
    "lists of images": ([FRAMES, FRAMES[::-1]], [FRAMES, FRAMES[::-1]]),
    "array": (ARRAY, ARRAY),
    "one array": (ARRAY[0], ARRAY[0]),
    "list of arrays": (list(ARRAY), list(ARRAY)),
    "tensor": (paddle.to_tensor(ARRAY.transpose(0, 1, 4, 2, 3)), torch.tensor(ARRAY.transpose(0, 1, 4, 2, 3))),
}


@pytest.mark.parametrize("name", VIDEOS)
@pytest.mark.parametrize("size", [{}, {"height": 24, "width": 16}])
def test_preprocess_video(name, size):
    ours, theirs = VIDEOS[name]
    result = VideoProcessor(vae_scale_factor=4).preprocess_video(ours, **size)
    expected = original.VideoProcessor(vae_scale_factor=4).preprocess_video(theirs, **size)
    np.testing.assert_allclose(result.numpy(), expected.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("output_type", ["np", "pd", "pil"])
def test_postprocess_video(output_type):
    video = RANDOM.uniform(-1.2, 1.2, (2, 3, 4, 8, 8)).astype(np.float32)  # [B, C, F, H, W]
    ours = VideoProcessor().postprocess_video(paddle.to_tensor(video), output_type)
    kind = "pt" if output_type == "pd" else output_type
    theirs = original.VideoProcessor().postprocess_video(torch.tensor(video), kind)
    if output_type == "pil":
        ours, theirs = ([[np.asarray(frame) for frame in frames] for frames in videos] for videos in (ours, theirs))
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=1e-6)


def test_errors():
    with pytest.raises(InputError, match="Unsupported video format"):
        VideoProcessor().preprocess_video("a file")
    with pytest.raises(InputError, match="Unknown output type 'latent'"):
        VideoProcessor().postprocess_video(paddle.zeros([1, 3, 1, 8, 8]), "latent")
