"""Text to image with a multilingual text encoder. Chen et al., "AltCLIP", arXiv 2211.06679."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ppdiffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline

if TYPE_CHECKING:
    from ppdiffusers.pipelines.alt_diffusion.modeling_roberta_series import RobertaSeriesModelWithTransformation
    from ppdiffusers.transformers import XLMRobertaTokenizer


class AltDiffusionPipeline(StableDiffusionPipeline):
    """Stable Diffusion with another text encoder: prompts in Chinese, English and seven more languages."""

    text_encoder: RobertaSeriesModelWithTransformation
    tokenizer: XLMRobertaTokenizer

    def _size(self, height: int | None, width: int | None, latents: Any = None) -> tuple[int, int]:
        """As in diffusers, height and width have separate defaults in this pipeline."""
        return self._size_of_each(height, width, latents)
