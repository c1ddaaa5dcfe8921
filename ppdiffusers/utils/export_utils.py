"""Frames as animations and videos."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image

from ppdiffusers.core.errors import InputError
from ppdiffusers.core.extras import available, need

Frames = Sequence[PIL.Image.Image] | Sequence[np.ndarray] | np.ndarray


def export_to_gif(
    image: Sequence[PIL.Image.Image], output_gif_path: str | os.PathLike | None = None, fps: int = 10
) -> str:
    """Write images as an animation that repeats.

    Args:
        image: frames.
        output_gif_path: file to write; None creates a temporary one.
        fps: frames per second.

    Returns:
        The path of the file.
    """
    if not image:
        raise InputError("An animation needs at least one frame.", where="image")
    path = _output_path(output_gif_path, ".gif")
    first, *others = image
    first.save(path, save_all=True, append_images=others, optimize=False, duration=1000 // fps, loop=0)
    return path


def export_to_video(
    video_frames: Frames,
    output_video_path: str | os.PathLike | None = None,
    fps: int = 10,
    quality: float | None = 5.0,
    bitrate: int | None = None,
    macro_block_size: int | None = 16,
) -> str:
    """Write frames as an MP4 file, with imageio and ffmpeg, or with OpenCV if imageio is not installed.

    Args:
        video_frames: images, or arrays [H, W, C] with values in [0, 1].
        output_video_path: file to write; None creates a temporary one.
        fps: frames per second.
        quality: 0 to 10, for a variable bit rate; unused with OpenCV.
        bitrate: constant bit rate, instead of `quality`; unused with OpenCV.
        macro_block_size: height and width are scaled up to multiples of it; None or 1 keeps them; unused with OpenCV.

    Returns:
        The path of the file.

    Raises:
        MissingDependencyError: neither imageio nor OpenCV is installed.
    """
    if len(video_frames) == 0:
        raise InputError("A video needs at least one frame.", where="video_frames")
    path = _output_path(output_video_path, ".mp4")
    if available("imageio") or not available("cv2"):
        imageio = need("imageio", "to write videos")
        need("imageio_ffmpeg", "to write videos")
        settings: dict[str, Any] = {"quality": quality, "bitrate": bitrate, "macro_block_size": macro_block_size}
        with imageio.get_writer(path, fps=fps, **settings) as writer:
            for frame in _as_bytes(video_frames):
                writer.append_data(frame)
    else:
        _write_with_opencv(video_frames, path, fps)
    return path


def _write_with_opencv(video_frames: Frames, path: str, fps: int) -> None:
    cv2 = need("cv2", "to write videos")
    writer = None
    for frame in _as_bytes(video_frames):
        if writer is None:
            height, width = frame.shape[:2]
            writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    if writer is not None:
        writer.release()


def _as_bytes(frames: Frames) -> Iterator[np.ndarray]:
    """Frames as uint8 [H, W, C]."""
    for frame in frames:
        if isinstance(frame, PIL.Image.Image):
            yield np.asarray(frame)
        elif isinstance(frame, np.ndarray):
            yield frame if frame.dtype == np.uint8 else (frame * 255).astype(np.uint8)
        else:
            raise InputError("Unsupported frame.", where=type(frame), expected="PIL images or numpy arrays")


def _output_path(path: str | os.PathLike | None, suffix: str) -> str:
    if path is not None:
        return os.fspath(path)
    handle, name = tempfile.mkstemp(suffix=suffix)
    os.close(handle)
    return name
