"""The safety checker of Safe Latent Diffusion, which leaves the images unchanged."""

from __future__ import annotations

import numpy as np
import paddle

from ppdiffusers.pipelines.stable_diffusion.safety_checker import ConceptChecker


class SafeStableDiffusionSafetyChecker(ConceptChecker):
    """Flag images; the pipeline blackens flagged ones."""

    def forward(
        self, clip_input: paddle.Tensor, images: paddle.Tensor | np.ndarray | list
    ) -> tuple[paddle.Tensor | np.ndarray | list, list[bool]]:
        """Return `images` unchanged and a flag for each; `clip_input` is preprocessed for the vision model."""
        return images, self.has_nsfw_concepts(clip_input)
