"""Image to image with a multilingual text encoder. Chen et al., "AltCLIP", arXiv 2211.06679."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ppdiffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import StableDiffusionImg2ImgPipeline

if TYPE_CHECKING:
    from ppdiffusers.pipelines.alt_diffusion.modeling_roberta_series import RobertaSeriesModelWithTransformation
    from ppdiffusers.transformers import XLMRobertaTokenizer


class AltDiffusionImg2ImgPipeline(StableDiffusionImg2ImgPipeline):
    """`StableDiffusionImg2ImgPipeline` with the components of `AltDiffusionPipeline`."""

    text_encoder: RobertaSeriesModelWithTransformation
    tokenizer: XLMRobertaTokenizer
