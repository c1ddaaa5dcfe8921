"""Videos to tensors and back: each frame is processed as an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.image_processor import (
    OUTPUT_TYPES,
    VaeImageProcessor,
    is_valid_image,
    is_valid_image_imagelist,
)

VideoInput = (
    list[PIL.Image.Image]
    | list[list[PIL.Image.Image]]
    | np.ndarray
    | paddle.Tensor
    | list[np.ndarray]
    | list[paddle.Tensor]
)


class VideoProcessor(VaeImageProcessor):
    """Prepare videos for a VAE and convert what it decodes to frames."""

    def preprocess_video(self, video: VideoInput, height: int | None = None, width: int | None = None) -> paddle.Tensor:
        """Convert one video or several to a tensor [B, C, F, H, W].

        Args:
            video: a list of PIL images or a list of such lists; arrays [F, H, W, C] or [B, F, H, W, C], tensors
                [F, C, H, W] or [B, F, C, H, W], or lists of them.
            height, width: size of the frames; by default that of the first frame.

        Raises:
            InputError: the format is not supported.
        """
        videos = self._as_videos(video)
        frames = [self.preprocess(one, height=height, width=width) for one in videos]  # each [F, C, H, W]
        return paddle.stack(frames).transpose([0, 2, 1, 3, 4])  # [B, C, F, H, W]

    @staticmethod
    def _as_videos(video: Any) -> list:
        if (
            isinstance(video, list)
            and video
            and isinstance(video[0], np.ndarray | paddle.Tensor)
            and video[0].ndim == 5
        ):
            video = np.concatenate(video) if isinstance(video[0], np.ndarray) else paddle.concat(video)
        if isinstance(video, np.ndarray | paddle.Tensor) and video.ndim == 5:
            return list(video)
        if (isinstance(video, list) and video and is_valid_image(video[0])) or is_valid_image_imagelist(video):
            return [video]
        if isinstance(video, list) and video and is_valid_image_imagelist(video[0]):
            return video
        raise InputError(
            "Unsupported video format.",
            where=type(video),
            expected="PIL images, arrays [F, H, W, C], tensors [F, C, H, W], or a batch of them",
        )

    def postprocess_video(
        self, video: paddle.Tensor, output_type: str = "np"
    ) -> np.ndarray | paddle.Tensor | list[list[PIL.Image.Image]]:
        """Convert a decoded tensor [B, C, F, H, W] to frames.

        Args:
            video: values in [-1, 1].
            output_type: "np" for an array [B, F, H, W, C], "pd" for a tensor [B, F, C, H, W], "pil" for lists of
                images.

        Raises:
            InputError: the output type is unknown.
        """
        kind = OUTPUT_TYPES.get(output_type)
        if kind not in ("np", "pd", "pil"):
            raise InputError(f"Unknown output type {output_type!r}.", expected="np, pd or pil")
        frames = [self.postprocess(one.transpose([1, 0, 2, 3]), output_type) for one in video]  # one: [C, F, H, W]
        if kind == "pil":
            return frames
        return np.stack(frames) if kind == "np" else paddle.stack(frames)
