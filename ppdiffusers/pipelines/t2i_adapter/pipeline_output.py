"""Output of the Stable Diffusion pipeline with T2I-Adapters, under the name that diffusers has for it."""

from ppdiffusers.pipelines.stable_diffusion.pipeline_output import (
    StableDiffusionPipelineOutput as StableDiffusionAdapterPipelineOutput,
)

__all__ = ["StableDiffusionAdapterPipelineOutput"]
