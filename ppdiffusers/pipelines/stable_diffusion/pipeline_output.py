"""What the Stable Diffusion pipelines return."""

from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput

__all__ = ["StableDiffusionPipelineOutput"]
