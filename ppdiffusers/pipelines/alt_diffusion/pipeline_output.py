"""What the AltDiffusion pipelines return: the same as Stable Diffusion's."""

from ppdiffusers.pipelines.steps.outputs import StableDiffusionPipelineOutput

AltDiffusionPipelineOutput = StableDiffusionPipelineOutput
