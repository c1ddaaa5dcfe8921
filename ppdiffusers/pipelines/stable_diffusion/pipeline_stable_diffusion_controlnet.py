"""Module path of diffusers before 0.15 and of ppdiffusers; the code is in `pipelines.controlnet`."""

from ppdiffusers.core.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.models.controlnets.multicontrolnet": ["MultiControlNetModel"],
        "ppdiffusers.pipelines.controlnet.pipeline_controlnet": ["StableDiffusionControlNetPipeline"],
    },
)
