"""Blacks out pictures that are close to a list of concepts."""

from __future__ import annotations

import numpy as np
import paddle

from ppdiffusers.pipelines.stages.concept_checker import ConceptChecker


class StableDiffusionSafetyChecker(ConceptChecker):
    """Judges pictures; those it objects to are replaced by black ones."""

    def forward(
        self, clip_input: paddle.Tensor, images: paddle.Tensor | np.ndarray | list
    ) -> tuple[paddle.Tensor | np.ndarray | list, list[bool]]:
        """Judge pictures.

        Args:
            clip_input: the pictures as the image tower reads them, [B, 3, h, w].
            images: the same pictures as a tensor [B, ...], an array, or a list of B tensors or arrays.

        Returns:
            The pictures, flagged ones all zero, and a flag for each.
        """
        flags = self.judge(clip_input)
        return _black_where(flags, images), flags


def _black_where(flags: list[bool], images: paddle.Tensor | np.ndarray | list) -> paddle.Tensor | np.ndarray | list:
    if not any(flags):
        return images
    mended = [_zeros_like(image) if flag else image for image, flag in zip(images, flags, strict=True)]
    if isinstance(images, paddle.Tensor):
        return paddle.stack(mended)
    return np.stack(mended) if isinstance(images, np.ndarray) else mended


def _zeros_like(image: paddle.Tensor | np.ndarray) -> paddle.Tensor | np.ndarray:
    return paddle.zeros_like(image) if isinstance(image, paddle.Tensor) else np.zeros_like(image)
