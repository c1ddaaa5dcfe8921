"""What the AltDiffusion pipelines return: the same as Stable Diffusion's."""

from ppdiffusers.pipelines.stages.outputs import StableDiffusionPipelineOutput

AltDiffusionPipelineOutput = StableDiffusionPipelineOutput
