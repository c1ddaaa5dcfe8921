"""Safety checker: images are compared with concepts in CLIP's embedding space; each concept is one vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppdiffusers.pipelines.stages.safety import black_if_flagged
from ppdiffusers.transformers import CLIPConfig, CLIPVisionModel, PretrainedModel
from ppdiffusers.utils.dummy_inputs import DummyInputs, pixel_values
from ppdiffusers.utils.logging import get_logger

logger = get_logger(__name__)

NUM_CONCEPTS, NUM_SPECIAL_CARE_CONCEPTS = 17, 3
# subtracted from all thresholds for images that match a special care concept
SPECIAL_CARE_ADJUSTMENT = 0.01


class ConceptChecker(PretrainedModel):
    """A CLIP vision model with a projection, and the vectors and thresholds of the concepts.

    An image is flagged if its cosine similarity with a concept exceeds the threshold of the concept by at least 0.0005:
    scores are rounded to three digits.
    """

    config_class = CLIPConfig
    # a compiled program computes the similarities; the flags are computed from them in numpy
    compiled_methods = ("cosine_similarities",)

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        width = config.projection_dim
        self.vision_model = CLIPVisionModel(config.vision_config)
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, width, bias_attr=False)
        self.concept_embeds = self._constant([NUM_CONCEPTS, width])
        self.special_care_embeds = self._constant([NUM_SPECIAL_CARE_CONCEPTS, width])
        self.concept_embeds_weights = self._constant([NUM_CONCEPTS])
        self.special_care_embeds_weights = self._constant([NUM_SPECIAL_CARE_CONCEPTS])

    def _constant(self, shape: list[int]) -> paddle.Tensor:
        parameter = self.create_parameter(shape, default_initializer=nn.initializer.Constant(1.0))
        parameter.stop_gradient = True
        return parameter

    @paddle.no_grad()
    def has_nsfw_concepts(self, clip_input: paddle.Tensor) -> list[bool]:
        """A flag for each image of `clip_input`, the preprocessed input of the vision model [B, 3, h, w]."""
        special_care, concepts = self.cosine_similarities(clip_input)  # [B, 3], [B, 17]
        special_care_scores = _excess(special_care, self.special_care_embeds_weights)  # [B, 3]
        special = (special_care_scores.round(3) > 0).any(axis=1, keepdims=True)  # [B, 1]
        scores = _excess(concepts, self.concept_embeds_weights) + np.where(special, SPECIAL_CARE_ADJUSTMENT, 0.0)
        flags = [bool(flag) for flag in (scores.round(3) > 0).any(axis=1)]
        if any(flags):
            logger.warning(
                "The safety checker flagged %d of %d images, which are returned black. Try another prompt or seed.",
                sum(flags),
                len(flags),
            )
        return flags

    def cosine_similarities(self, clip_input: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Cosine similarities of images with the special care concepts [B, 3] and the other concepts [B, 17]."""
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


class StableDiffusionSafetyChecker(ConceptChecker):
    """Flag images and replace flagged ones by black images."""

    def forward(
        self, clip_input: paddle.Tensor, images: paddle.Tensor | np.ndarray | list
    ) -> tuple[paddle.Tensor | np.ndarray | list, list[bool]]:
        """Flag images.

        Args:
            clip_input: preprocessed images for the vision model, [B, 3, h, w].
            images: the same images as a tensor [B, ...], an array, or a list of B tensors or arrays.

        Returns:
            The images, in which flagged ones are all zero, and a flag for each image.
        """
        flags = self.has_nsfw_concepts(clip_input)
        return black_if_flagged(flags, images), flags


def _excess(similarities: paddle.Tensor, thresholds: paddle.Tensor) -> np.ndarray:
    """Similarities [B, N] minus thresholds [N], in float64."""
    return similarities.astype("float32").numpy() - thresholds.astype("float32").numpy().astype(np.float64)
