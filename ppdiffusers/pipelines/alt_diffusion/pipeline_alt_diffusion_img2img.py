"""Picture and text to picture with a multilingual text encoder. Chen et al., "AltCLIP", arXiv 2211.06679."""

from __future__ import annotations

from ppdiffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import StableDiffusionImg2ImgPipeline


class AltDiffusionImg2ImgPipeline(StableDiffusionImg2ImgPipeline):
    """`StableDiffusionImg2ImgPipeline` with the components of `AltDiffusionPipeline`."""
