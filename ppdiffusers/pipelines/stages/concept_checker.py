"""Judging pictures by their distance to concepts in CLIP's space; the concepts are known by vectors only."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.transformers import CLIPConfig, CLIPVisionModel, PretrainedModel
from ppdiffusers.utils.dummy_inputs import DummyInputs, pixel_values
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

CONCEPTS, SPECIAL_CARE = 17, 3
# How much stricter all thresholds are for a picture that needs special care.
STRICTER = 0.01


class ConceptChecker(PretrainedModel):
    """A CLIP image tower, a projection, and the vectors and thresholds of the concepts.

    A picture is flagged when its cosine with a concept's vector is above that concept's threshold, by 0.0005 or more
    (scores are rounded to three digits).
    """

    config_class = CLIPConfig
    # What a compiled program computes; the flags are decided from it in numpy.
    compiled_methods = ("cosines",)

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        width = config.projection_dim
        self.vision_model = CLIPVisionModel(config.vision_config)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, width, bias_attr=False)
        self.concept_embeds = self._constant([CONCEPTS, width])
        self.special_care_embeds = self._constant([SPECIAL_CARE, width])
        self.concept_embeds_weights = self._constant([CONCEPTS])
        self.special_care_embeds_weights = self._constant([SPECIAL_CARE])

    def _constant(self, shape: list[int]) -> paddle.Tensor:
        parameter = self.create_parameter(shape, default_initializer=nn.initializer.Constant(1.0))
        parameter.stop_gradient = True
        return parameter

    @paddle.no_grad()
    def judge(self, clip_input: paddle.Tensor) -> list[bool]:
        """A flag for each picture; `clip_input` is what the image tower reads, [B, 3, h, w]."""
        special, concepts = self.cosines(clip_input)  # [B, 3], [B, 17]
        special = _above(special, self.special_care_embeds_weights)
        needs_care = (special.round(3) > 0).any(axis=1, keepdims=True)  # [B, 1]
        scores = _above(concepts, self.concept_embeds_weights) + np.where(needs_care, STRICTER, 0.0)
        flags = [bool(flag) for flag in (scores.round(3) > 0).any(axis=1)]
        if any(flags):
            logger.warning(
                "The safety checker flagged %d of %d pictures: these are returned black. Try another prompt or seed.",
                sum(flags),
                len(flags),
            )
        return flags

    def cosines(self, clip_input: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Cosines of the pictures with the concepts of special care, [B, 3], and with the others, [B, 17]."""
        embeds = F.normalize(self.visual_projection(self.vision_model(clip_input)[1]))  # [B, projection_dim]
        return tuple(
            paddle.matmul(embeds, F.normalize(concepts), transpose_y=True)
            for concepts in (self.special_care_embeds, self.concept_embeds)
        )

    def dummy_inputs(self, rng: np.random.Generator) -> DummyInputs:
        return {"clip_input": pixel_values(self.config.vision_config, rng)}  # [B, 3, H, W]

    @staticmethod
    def reference_outputs(network: Any, inputs: DummyInputs) -> dict[str, Any]:
        """Compare what the flags are computed from: flags themselves hide small differences."""
        pooled = network.vision_model(inputs["clip_input"])[1]  # [B, D]
        names = ("concept_embeds", "special_care_embeds", "concept_embeds_weights", "special_care_embeds_weights")
        tables = {name: getattr(network, name) for name in names}
        return {"image_embeds": network.visual_projection(pooled), **tables}


def _above(cosines: paddle.Tensor, thresholds: paddle.Tensor) -> np.ndarray:
    """How far cosines [B, N] are above the thresholds [N], in float64."""
    return cosines.astype("float32").numpy() - thresholds.astype("float32").numpy().astype(np.float64)
