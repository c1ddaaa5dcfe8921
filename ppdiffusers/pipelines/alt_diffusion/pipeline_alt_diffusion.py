"""Text to picture with a multilingual text encoder. Chen et al., "AltCLIP", arXiv 2211.06679."""

from __future__ import annotations

from ppdiffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from ppdiffusers.pipelines.stages.text_guided import TextGuidedMixin


class AltDiffusionPipeline(StableDiffusionPipeline):
    """Stable Diffusion whose `text_encoder` is a `RobertaSeriesModelWithTransformation` and whose `tokenizer` is an
    `XLMRobertaTokenizer`: prompts in Chinese, English and seven more languages."""

    _size = TextGuidedMixin._size_of_each
