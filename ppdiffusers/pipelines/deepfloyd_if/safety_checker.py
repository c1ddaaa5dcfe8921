"""Safety checker of DeepFloyd IF: two linear classifiers over CLIP's image embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppdiffusers.pipelines.stages.safety import black_if_flagged
from ppdiffusers.transformers import CLIPConfig, CLIPVisionModelWithProjection, PretrainedModel
from ppdiffusers.utils.dummy_inputs import DummyInputs, pixel_values
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)


class IFSafetyChecker(PretrainedModel):
    """Flag unsafe images and images with a watermark, and replace both by black images."""

    config_class = CLIPConfig
    # a compiled program computes the scores; the flags are computed from them in numpy
    compiled_methods = ("scores",)

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        width = config.vision_config.projection_dim
        self.vision_model = CLIPVisionModelWithProjection(config.vision_config)
        self.p_head = nn.Linear(width, 1)
        self.w_head = nn.Linear(width, 1)

    @paddle.no_grad()
    def forward(
        self,
        clip_input: paddle.Tensor,
        images: paddle.Tensor | np.ndarray | list,
        p_threshold: float = 0.5,
        w_threshold: float = 0.5,
    ) -> tuple[paddle.Tensor | np.ndarray | list, list[bool], list[bool]]:
        """Flag images.

        Args:
            clip_input: preprocessed images for the vision model, [B, 3, h, w].
            images: the same images as a tensor [B, ...], an array, or a list of B tensors or arrays.
            p_threshold, w_threshold: scores above which an image is unsafe, or has a watermark.

        Returns:
            The images, in which flagged ones are all zero, the flags of unsafe images and those of watermarks.
        """
        thresholds = {"unsafe content": p_threshold, "a watermark": w_threshold}
        flags = [
            [bool(flag) for flag in score.astype("float32").numpy() > threshold]
            for score, threshold in zip(self.scores(clip_input), thresholds.values(), strict=True)
        ]
        for found, what in zip(flags, thresholds, strict=True):
            if any(found):
                logger.warning(
                    "The safety checker found %s in %d of %d images, which are returned black. Try another prompt or "
                    "seed.",
                    what,
                    sum(found),
                    len(found),
                )
        nsfw, watermark = flags
        return black_if_flagged([a or b for a, b in zip(nsfw, watermark, strict=True)], images), nsfw, watermark

    def scores(self, clip_input: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Scores of unsafe content and of a watermark, [B] each."""
        embeds = self.vision_model(clip_input)[0]  # [B, projection_dim]
        return self.p_head(embeds).flatten(), self.w_head(embeds).flatten()

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"clip_input": pixel_values(self.config.vision_config, rng)}  # [B, 3, H, W]

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        """Compare the scores: flags hide small differences."""
        embeds = network.vision_model(inputs["clip_input"])[0]
        return {"nsfw": network.p_head(embeds), "watermark": network.w_head(embeds)}
