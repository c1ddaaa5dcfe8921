"""What a whole Versatile Diffusion is made of."""

from __future__ import annotations

from typing import Any

from ppdiffusers.pipelines.pipeline_utils import DiffusionPipeline
from ppdiffusers.pipelines.stages.text_guided import LatentsMixin


class AllComponents(LatentsMixin, DiffusionPipeline):
    """A pipeline with everything that a Versatile Diffusion has."""

    def __init__(
        self,
        tokenizer: Any,
        image_feature_extractor: Any,
        text_encoder: Any,
        image_encoder: Any,
        image_unet: Any,
        text_unet: Any,
        vae: Any,
        scheduler: Any,
    ):
        super().__init__()
        self._register(
            tokenizer=tokenizer,
            image_feature_extractor=image_feature_extractor,
            text_encoder=text_encoder,
            image_encoder=image_encoder,
            image_unet=image_unet,
            text_unet=text_unet,
            vae=vae,
            scheduler=scheduler,
        )
