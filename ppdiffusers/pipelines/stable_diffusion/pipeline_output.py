"""What the Stable Diffusion pipelines return."""

from ppdiffusers.pipelines.steps.outputs import StableDiffusionPipelineOutput

__all__ = ["StableDiffusionPipelineOutput"]
