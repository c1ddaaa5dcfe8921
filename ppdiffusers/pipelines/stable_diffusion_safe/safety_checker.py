"""Flags pictures that are close to a list of concepts, and leaves them as they are."""

from __future__ import annotations

import numpy as np
import paddle

from ppdiffusers.pipelines.stages.concept_checker import ConceptChecker


class SafeStableDiffusionSafetyChecker(ConceptChecker):
    """Judges pictures; the pipeline decides what becomes of those it objects to."""

    def forward(
        self, clip_input: paddle.Tensor, images: paddle.Tensor | np.ndarray | list
    ) -> tuple[paddle.Tensor | np.ndarray | list, list[bool]]:
        """`images` as they are, and a flag for each; `clip_input` is what the image tower reads, [B, 3, h, w]."""
        return images, self.judge(clip_input)
