"""ppdiffusers: diffusion pipelines, models and schedulers on PaddlePaddle that load PyTorch weights.

Importing this package imports nothing heavy: a public name brings in its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from ppdiffusers.runtime.memory import keep_freed_memory
from ppdiffusers.runtime.threads import get_num_threads, prepare, set_num_threads
from ppdiffusers.version import __version__

prepare()
keep_freed_memory()

# public module -> the names that `ppdiffusers` offers from it
_MODULES: dict[str, tuple[str, ...]] = {
    # core
    "core.config": ("ConfigMixin", "FrozenDict", "register_to_config"),
    "core.outputs": ("BaseOutput",),
    "core.errors": ("PPDiffusersError",),
    "core.torch_random": ("RecordedNoise", "TorchGenerator"),
    # models
    "models.modeling_utils": ("ModelMixin",),
    "models.unets.unet_1d": ("UNet1DModel",),
    "models.transformers.transformer_2d": ("Transformer2DModel",),
    "models.unets.unet_2d": ("UNet2DModel",),
    "models.unets.unet_2d_condition": ("UNet2DConditionModel",),
    "models.autoencoders.autoencoder_kl": ("AutoencoderKL",),
    "models.autoencoders.vq_model": ("VQModel",),
    # transformers: reached as ppdiffusers.transformers.<name>, like the original library
    # schedulers
    "schedulers.scheduling_utils": ("SchedulerMixin",),
    "schedulers.scheduling_ddpm": ("DDPMScheduler",),
    "schedulers.scheduling_ddim": ("DDIMScheduler",),
    "schedulers.scheduling_pndm": ("PNDMScheduler",),
    "schedulers.scheduling_lms_discrete": ("LMSDiscreteScheduler",),
    "schedulers.scheduling_euler_discrete": ("EulerDiscreteScheduler",),
    "schedulers.scheduling_euler_ancestral_discrete": ("EulerAncestralDiscreteScheduler",),
    "schedulers.scheduling_dpmsolver_multistep": ("DPMSolverMultistepScheduler",),
    "schedulers.scheduling_dpmsolver_multistep_inverse": ("DPMSolverMultistepInverseScheduler",),
    "schedulers.scheduling_dpmsolver_singlestep": ("DPMSolverSinglestepScheduler",),
    "schedulers.scheduling_unipc_multistep": ("UniPCMultistepScheduler",),
    "schedulers.scheduling_deis_multistep": ("DEISMultistepScheduler",),
    "schedulers.scheduling_ddim_inverse": ("DDIMInverseScheduler",),
    "schedulers.scheduling_heun_discrete": ("HeunDiscreteScheduler",),
    "schedulers.scheduling_k_dpm_2_discrete": ("KDPM2DiscreteScheduler",),
    "schedulers.scheduling_k_dpm_2_ancestral_discrete": ("KDPM2AncestralDiscreteScheduler",),
    "schedulers.scheduling_ipndm": ("IPNDMScheduler",),
    "schedulers.scheduling_dpmsolver_sde": ("DPMSolverSDEScheduler",),
    "schedulers.scheduling_lcm": ("LCMScheduler",),
    "schedulers.scheduling_tcd": ("TCDScheduler",),
    "schedulers.scheduling_edm_euler": ("EDMEulerScheduler",),
    "schedulers.scheduling_edm_dpmsolver_multistep": ("EDMDPMSolverMultistepScheduler",),
    "schedulers.scheduling_flow_match_euler_discrete": ("FlowMatchEulerDiscreteScheduler",),
    "schedulers.scheduling_flow_match_heun_discrete": ("FlowMatchHeunDiscreteScheduler",),
    "schedulers.scheduling_consistency_models": ("CMStochasticIterativeScheduler",),
    "schedulers.scheduling_karras_ve": ("KarrasVeScheduler",),
    "schedulers.scheduling_sde_ve": ("ScoreSdeVeScheduler",),
    "schedulers.scheduling_sde_vp": ("ScoreSdeVpScheduler",),
    "schedulers.scheduling_repaint": ("RePaintScheduler",),
    "schedulers.scheduling_vq_diffusion": ("VQDiffusionScheduler",),
    "schedulers.scheduling_unclip": ("UnCLIPScheduler",),
    "schedulers.scheduling_sasolver": ("SASolverScheduler",),
    # pipelines
    "pipelines.pipeline_utils": ("AudioPipelineOutput", "DiffusionPipeline", "ImagePipelineOutput"),
    "pipelines.auto_pipeline": (
        "AutoPipelineForImage2Image",
        "AutoPipelineForInpainting",
        "AutoPipelineForText2Image",
    ),
    "pipelines.ddpm.pipeline_ddpm": ("DDPMPipeline",),
    "pipelines.ddim.pipeline_ddim": ("DDIMPipeline",),
    "pipelines.pndm.pipeline_pndm": ("PNDMPipeline",),
    "pipelines.latent_diffusion_uncond.pipeline_latent_diffusion_uncond": ("LDMPipeline",),
    "pipelines.score_sde_ve.pipeline_score_sde_ve": ("ScoreSdeVePipeline",),
    "pipelines.score_sde_vp.pipeline_score_sde_vp": ("ScoreSdeVpPipeline",),
    "pipelines.stochastic_karras_ve.pipeline_stochastic_karras_ve": ("KarrasVePipeline",),
    "pipelines.repaint.pipeline_repaint": ("RePaintPipeline",),
    "pipelines.dance_diffusion.pipeline_dance_diffusion": ("DanceDiffusionPipeline",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion": ("StableDiffusionPipeline",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_img2img": ("StableDiffusionImg2ImgPipeline",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint": ("StableDiffusionInpaintPipeline",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint_legacy": ("StableDiffusionInpaintPipelineLegacy",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_upscale": ("StableDiffusionUpscalePipeline",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix": (
        "StableDiffusionInstructPix2PixPipeline",
    ),
    "pipelines.stable_diffusion.pipeline_cycle_diffusion": ("CycleDiffusionPipeline",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_depth2img": ("StableDiffusionDepth2ImgPipeline",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_image_variation": ("StableDiffusionImageVariationPipeline",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_latent_upscale": ("StableDiffusionLatentUpscalePipeline",),
    "pipelines.stable_diffusion.pipeline_output": ("StableDiffusionPipelineOutput",),
    "pipelines.stable_diffusion_safe.pipeline_stable_diffusion_safe": ("StableDiffusionPipelineSafe",),
    "pipelines.stable_diffusion_safe.safety_config": ("SafetyConfig",),
    "pipelines.alt_diffusion.pipeline_alt_diffusion": ("AltDiffusionPipeline",),
    "pipelines.alt_diffusion.pipeline_alt_diffusion_img2img": ("AltDiffusionImg2ImgPipeline",),
    "pipelines.stable_diffusion.safety_checker": ("StableDiffusionSafetyChecker",),
    "image_processor": ("VaeImageProcessor",),
    "pipelines.latent_diffusion.pipeline_latent_diffusion": ("LDMTextToImagePipeline",),
    "pipelines.latent_diffusion.pipeline_latent_diffusion_superresolution": ("LDMSuperResolutionPipeline",),
    "pipelines.vq_diffusion.pipeline_vq_diffusion": ("VQDiffusionPipeline",),
    "pipelines.versatile_diffusion.pipeline_versatile_diffusion": ("VersatileDiffusionPipeline",),
    "pipelines.versatile_diffusion.pipeline_versatile_diffusion_text_to_image": (
        "VersatileDiffusionTextToImagePipeline",
    ),
    "pipelines.versatile_diffusion.pipeline_versatile_diffusion_image_variation": (
        "VersatileDiffusionImageVariationPipeline",
    ),
    "pipelines.versatile_diffusion.pipeline_versatile_diffusion_dual_guided": ("VersatileDiffusionDualGuidedPipeline",),
    # helpers
    # conversion of whole folders
    "conversion.folder": ("convert_diffusers_to_paddle", "convert_paddle_to_diffusers"),
    "conversion.original": ("convert_original",),
    "conversion.to_original": ("convert_to_original",),
    "conversion.report": ("ConversionReport",),
}
_HOME = {name: f"ppdiffusers.{module}" for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", "get_num_threads", "set_num_threads", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ppdiffusers' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up is a plain one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
