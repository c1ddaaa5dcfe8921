"""Output of the AltDiffusion pipelines, which is that of Stable Diffusion."""

from ppdiffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput

AltDiffusionPipelineOutput = StableDiffusionPipelineOutput
