"""Judging pictures by their distance to concepts in CLIP's space; the concepts are known by vectors only."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.transformers import CLIPConfig, CLIPVisionModel, PretrainedModel

CONCEPTS, SPECIAL_CARE = 17, 3
# How much stricter all thresholds are for a picture that needs special care.
STRICTER = 0.01


class ConceptChecker(PretrainedModel):
    """A CLIP image tower, a projection, and the vectors and thresholds of the concepts.

    A picture is flagged when its cosine with a concept's vector is above that concept's threshold, by 0.0005 or more
    (scores are rounded to three digits).
    """

    config_class = CLIPConfig

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
        pooled = self.vision_model(clip_input)[1]  # [B, hidden_size]
        embeds = self.visual_projection(pooled)  # [B, projection_dim]
        special = self._scores(embeds, self.special_care_embeds, self.special_care_embeds_weights)  # [B, 3]
        needs_care = (special.round(3) > 0).any(axis=1, keepdims=True)  # [B, 1]
        scores = self._scores(embeds, self.concept_embeds, self.concept_embeds_weights)  # [B, 17]
        scores = scores + np.where(needs_care, STRICTER, 0.0)
        return [bool(flag) for flag in (scores.round(3) > 0).any(axis=1)]

    @staticmethod
    def _scores(embeds: paddle.Tensor, concepts: paddle.Tensor, thresholds: paddle.Tensor) -> np.ndarray:
        """Cosines minus thresholds: [B, concepts]."""
        cosines = paddle.matmul(F.normalize(embeds), F.normalize(concepts), transpose_y=True)
        return cosines.astype("float32").numpy() - thresholds.astype("float32").numpy().astype(np.float64)
