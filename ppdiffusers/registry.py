"""The table of public names: one row for each class, with its module, its kind and its name in each library.

Everything that needs to know which classes exist reads this table: lazy exports, `model_index.json`, conversion and its
verification, AutoPipeline, and the tables in the documents. Adding a class means writing its file and one row here.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "model", "encoder", "tokenizer", "image_processor", "scheduler", "pipeline", "base", "output", "config", "helper"
]
# Kinds that appear as components in a `model_index.json`.
COMPONENT_KINDS = ("model", "encoder", "tokenizer", "image_processor", "scheduler")
# Kinds of components that have weights.
NETWORK_KINDS = ("model", "encoder")

TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING = "text-to-image", "image-to-image", "inpainting"


@dataclass(frozen=True)
class Entry:
    """One public name.

    Attributes:
        name: name of the class, which is the name of the PyTorch original where there is one.
        module: module that defines it, such as "ppdiffusers.models.unets.unet_2d".
        kind: what it is.
        library: first part of its entry in a `model_index.json` of diffusers: "diffusers", "transformers", or the name
            of a pipeline package such as "stable_diffusion".
        paddle_library: the same in our files; by default derived from `library`.
        original_module: module of the PyTorch original, if it is not `library`.
        index_module: module to write into diffusers' `model_index.json` where diffusers does not find `library`.
        alias_of: name of the entry that provides the class.
        paddlenlp_name: name of the equivalent class in paddlenlp, if it differs.
        model_type: `model_type` in the configuration file of a class whose configuration is that of transformers.
        exported: whether the name is available as `ppdiffusers.<name>`.
        legacy_config: name of the component's configuration file if, in models of 2022, it is stored next to
            `model_index.json` instead of in a folder.
        networks_class: for a component that contains several networks, their class; they are saved in the folders
            `<component>`, `<component>_1`, ...
        exchangeable: for schedulers, whether it can be created from the configuration of the other exchangeable ones.
        family, task: for pipelines, how AutoPipeline finds it: pipelines of one family share their components.
        legacy_components: for pipelines, legacy component name -> current name.
    """

    name: str
    module: str
    kind: Kind
    library: str = "diffusers"
    paddle_library: str = ""
    original_module: str = ""
    index_module: str = ""
    alias_of: str = ""
    paddlenlp_name: str = ""
    model_type: str = ""
    exported: bool = True
    legacy_config: str = ""
    networks_class: str = ""
    exchangeable: bool = False
    family: str = ""
    task: str = ""
    legacy_components: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Import path of our class: "package.module.Class"."""
        return f"{self.module}.{self.alias_of or self.name}"

    @property
    def has_weights(self) -> bool:
        """Whether it is a network."""
        return self.kind in NETWORK_KINDS

    @property
    def has_original(self) -> bool:
        """Whether a PyTorch library has this class; those of repositories that are no packages are ours alone."""
        return self.library != "ppdiffusers"

    def load(self) -> Any:
        """Import our class."""
        return getattr(importlib.import_module(self.module), self.alias_of or self.name)

    def original(self) -> type:
        """Import the class of the PyTorch original, to verify a conversion.

        Raises:
            ImportError: the library is not installed.
        """
        return getattr(importlib.import_module(self.original_module or self.library), self.name)


# -- rows -------------------------------------------------------------------------------------------------------------


def _base(name: str, module: str, kind: Kind = "base") -> Entry:
    return Entry(name, f"ppdiffusers.{module}", kind)


def _model(name: str, module: str, **settings: Any) -> Entry:
    return Entry(name, f"ppdiffusers.models.{module}", "model", **settings)


def _scheduler(name: str, module: str, **settings: Any) -> Entry:
    return Entry(
        name,
        f"ppdiffusers.schedulers.scheduling_{module}",
        "scheduler",
        legacy_config="scheduler_config.json",
        **settings,
    )


def _transformers(name: str, module: str, kind: Kind = "encoder", **settings: Any) -> Entry:
    return Entry(name, f"ppdiffusers.transformers.{module}", kind, "transformers", exported=False, **settings)


def _pipeline(name: str, module: str, **settings: Any) -> Entry:
    return Entry(name, f"ppdiffusers.pipelines.{module}", "pipeline", **settings)


def _pipeline_model(name: str, package: str, file: str, original: str, **settings: Any) -> Entry:
    """A network that belongs to one pipeline: diffusers names its package in `model_index.json`."""
    settings = {"exported": False, "original_module": f"diffusers.pipelines.{original}", **settings}
    return Entry(name, f"ppdiffusers.pipelines.{package}.{file}", "model", package, **settings)


_DEPRECATED = "diffusers.schedulers.deprecated"
_ROWS = (
    # bases, outputs and helpers
    _base("ConfigMixin", "core.config"),
    _base("FrozenDict", "core.config"),
    _base("register_to_config", "core.config", "helper"),
    _base("BaseOutput", "core.outputs"),
    _base("PPDiffusersError", "core.errors"),
    _base("RecordedNoise", "core.torch_random", "helper"),
    _base("TorchGenerator", "core.torch_random", "helper"),
    _base("ModelMixin", "models.modeling_utils"),
    _base("SchedulerMixin", "schedulers.scheduling_utils"),
    _base("DiffusionPipeline", "pipelines.pipeline_utils"),
    _base("StableDiffusionMixin", "pipelines.pipeline_utils"),
    _base("AutoPipelineForText2Image", "pipelines.auto_pipeline"),
    _base("AutoPipelineForImage2Image", "pipelines.auto_pipeline"),
    _base("AutoPipelineForInpainting", "pipelines.auto_pipeline"),
    _base("AudioPipelineOutput", "pipelines.pipeline_utils", "output"),
    _base("ImagePipelineOutput", "pipelines.pipeline_utils", "output"),
    _base("StableDiffusionPipelineOutput", "pipelines.stable_diffusion.pipeline_output", "output"),
    _base("StableDiffusionXLPipelineOutput", "pipelines.stable_diffusion_xl.pipeline_output", "output"),
    _base("IFPipelineOutput", "pipelines.deepfloyd_if.pipeline_output", "output"),
    _base("GradTTSPipelineOutput", "pipelines.grad_tts.pipeline_output", "output"),
    _base("SafetyConfig", "pipelines.stable_diffusion_safe.safety_config", "helper"),
    _base("VaeImageProcessor", "image_processor", "helper"),
    _base("GaussianDDPMScheduler", "first_design", "helper"),
    _base("UNetModel", "first_design", "helper"),
    _base("load_noise_schedule", "pipelines.bddm.pipeline_bddm", "helper"),
    _base("CMUDictionary", "pipelines.grad_tts.cmu_dictionary", "helper"),
    _base("EMAModel", "training.ema", "helper"),
    _base("get_constant_schedule", "training.lr_schedules", "helper"),
    _base("get_constant_schedule_with_warmup", "training.lr_schedules", "helper"),
    _base("get_cosine_schedule_with_warmup", "training.lr_schedules", "helper"),
    _base("get_cosine_with_hard_restarts_schedule_with_warmup", "training.lr_schedules", "helper"),
    _base("get_linear_schedule_with_warmup", "training.lr_schedules", "helper"),
    _base("get_polynomial_decay_schedule_with_warmup", "training.lr_schedules", "helper"),
    _base("get_scheduler", "training.lr_schedules", "helper"),
    _base("convert_diffusers_to_paddle", "conversion.folder", "helper"),
    _base("convert_paddle_to_diffusers", "conversion.folder", "helper"),
    _base("convert_original", "conversion.original", "helper"),
    _base("convert_to_original", "conversion.to_original", "helper"),
    _base("convert_single_file", "conversion.single_file", "helper"),
    _base("convert_to_single_file", "conversion.single_file", "helper"),
    _base("ConversionReport", "conversion.report", "helper"),
    # networks
    _model("UNet1DModel", "unets.unet_1d"),
    _model("FastDiffModel", "vocoders.fastdiff", library="ppdiffusers"),
    _model("DiffWaveModel", "vocoders.diffwave", library="ppdiffusers"),
    _model("BDDMScheduleModel", "vocoders.galr", library="ppdiffusers"),
    _model("HiFiGANModel", "vocoders.hifigan", library="ppdiffusers"),
    _model("GradTTSTextEncoder", "transformers.text_encoder_grad_tts", library="ppdiffusers"),
    _model("UNetGradTTSModel", "unets.unet_grad_tts", library="ppdiffusers"),
    _model("UNet2DModel", "unets.unet_2d", legacy_config="config.json"),
    _model("UNet2DConditionModel", "unets.unet_2d_condition"),
    _model("ControlNetModel", "controlnets.controlnet"),
    _model(
        *("MultiControlNetModel", "controlnets.multicontrolnet"),
        library="controlnet",  # diffusers before 0.32; later releases write `index_module`
        index_module="diffusers",
        paddle_library="ppdiffusers",
        original_module="diffusers",
        networks_class="ControlNetModel",
    ),
    _model("ControlNetUnionModel", "controlnets.controlnet_union"),
    _model(
        *("MultiControlNetUnionModel", "controlnets.multicontrolnet_union"),
        index_module="diffusers.models",  # `diffusers` does not export it
        original_module="diffusers.models",
        networks_class="ControlNetUnionModel",
    ),
    _model("T2IAdapter", "t2i_adapters.t2i_adapter"),
    _model("MultiAdapter", "t2i_adapters.multi_adapter", networks_class="T2IAdapter"),
    _model("Transformer2DModel", "transformers.transformer_2d"),
    _model("PriorTransformer", "transformers.prior_transformer"),
    _model("GlideTextModel", "transformers.glide_text", library="ppdiffusers"),
    _model("AutoencoderKL", "autoencoders.autoencoder_kl"),
    _model("AutoencoderTiny", "autoencoders.autoencoder_tiny"),
    _model("VQModel", "autoencoders.vq_model"),
    # networks of one pipeline
    _pipeline_model(
        *("LDMBertModel", "latent_diffusion", "ldmbert", "latent_diffusion.pipeline_latent_diffusion"),
        model_type="ldmbert",
    ),
    _pipeline_model(
        *("LearnedClassifierFreeSamplingEmbeddings", "vq_diffusion", "learned_embeddings"),
        "deprecated.vq_diffusion.pipeline_vq_diffusion",
        index_module="diffusers.pipelines.deprecated.vq_diffusion.pipeline_vq_diffusion",
    ),
    _pipeline_model(
        *("StableDiffusionSafetyChecker", "stable_diffusion", "safety_checker", "stable_diffusion.safety_checker"),
        model_type="clip",
        exported=True,
    ),
    _pipeline_model(
        *("SafeStableDiffusionSafetyChecker", "stable_diffusion_safe", "safety_checker"),
        "stable_diffusion_safe.safety_checker",
        model_type="clip",
    ),
    _pipeline_model(
        *("UNetFlatConditionModel", "versatile_diffusion", "modeling_text_unet"),
        "deprecated.versatile_diffusion.modeling_text_unet",
        index_module="diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet",
    ),
    _pipeline_model(
        *("StableUnCLIPImageNormalizer", "stable_diffusion", "stable_unclip_image_normalizer"),
        "stable_diffusion.stable_unclip_image_normalizer",
    ),
    _pipeline_model(
        *("IFSafetyChecker", "deepfloyd_if", "safety_checker", "deepfloyd_if.safety_checker"), model_type="clip"
    ),
    _pipeline_model("IFWatermarker", "deepfloyd_if", "watermark", "deepfloyd_if.watermark"),
    _pipeline_model("UnCLIPTextProjModel", "unclip", "text_proj", "unclip.text_proj"),
    _pipeline_model(
        *("RobertaSeriesModelWithTransformation", "alt_diffusion", "modeling_roberta_series"),
        "deprecated.alt_diffusion.modeling_roberta_series",
        model_type="xlm-roberta",
    ),
    # text and image encoders, tokenizers, image processors: available in ppdiffusers.transformers
    _transformers("PretrainedConfig", "configuration_utils", "config"),
    _transformers("PretrainedModel", "modeling_utils", "base"),
    _transformers("AutoTokenizer", "auto_tokenizer", "helper"),
    _transformers("CLIPTextConfig", "clip.configuration", "config"),
    _transformers("CLIPVisionConfig", "clip.configuration", "config"),
    _transformers("CLIPConfig", "clip.configuration", "config"),
    _transformers("CLIPModel", "clip.modeling", "base", model_type="clip"),
    _transformers("CLIPTextModel", "clip.modeling", model_type="clip_text_model"),
    _transformers("CLIPTextModelWithProjection", "clip.modeling", model_type="clip_text_model"),
    _transformers("CLIPVisionModel", "clip.modeling", model_type="clip_vision_model"),
    _transformers("CLIPVisionModelWithProjection", "clip.modeling", model_type="clip_vision_model"),
    _transformers("CLIPTokenizer", "clip.tokenization", "tokenizer"),
    _transformers("CLIPTokenizerFast", "clip.tokenization", "tokenizer", paddlenlp_name="CLIPTokenizer"),
    _transformers("CLIPImageProcessor", "clip.image_processing", "image_processor"),
    _transformers("CLIPFeatureExtractor", "clip.image_processing", "image_processor"),
    _transformers(
        *("CLIPImageProcessorFast", "clip.image_processing", "image_processor"),
        alias_of="CLIPImageProcessor",
        paddlenlp_name="CLIPImageProcessor",
    ),
    _transformers("BertTokenizer", "bert.tokenization", "tokenizer"),
    _transformers("BertTokenizerFast", "bert.tokenization", "tokenizer", paddlenlp_name="BertTokenizer"),
    _transformers("XLMRobertaConfig", "xlm_roberta.configuration", "config"),
    _transformers("XLMRobertaModel", "xlm_roberta.modeling", model_type="xlm-roberta"),
    _transformers("XLMRobertaTokenizer", "xlm_roberta.tokenization", "tokenizer"),
    _transformers("XLMRobertaTokenizerFast", "xlm_roberta.tokenization", "tokenizer"),
    _transformers("T5Config", "t5.configuration", "config"),
    _transformers("MT5Config", "t5.configuration", "config"),
    _transformers("T5EncoderModel", "t5.modeling", model_type="t5"),
    _transformers("MT5EncoderModel", "t5.modeling", model_type="mt5"),
    _transformers("T5Tokenizer", "t5.tokenization", "tokenizer"),
    _transformers("T5TokenizerFast", "t5.tokenization", "tokenizer", paddlenlp_name="T5Tokenizer"),
    _transformers("MT5Tokenizer", "t5.tokenization", "tokenizer", alias_of="T5Tokenizer"),
    Entry("GlideTokenizer", "ppdiffusers.transformers.glide.tokenization", "tokenizer", "ppdiffusers"),
    _transformers("BitConfig", "dpt.configuration", "config"),
    _transformers("DPTConfig", "dpt.configuration", "config"),
    _transformers("DPTForDepthEstimation", "dpt.modeling", model_type="dpt"),
    _transformers("DPTImageProcessor", "dpt.image_processing", "image_processor"),
    _transformers("DPTFeatureExtractor", "dpt.image_processing", "image_processor"),
    _transformers(
        *("DPTImageProcessorFast", "dpt.image_processing", "image_processor"),
        alias_of="DPTImageProcessor",
        paddlenlp_name="DPTImageProcessor",
    ),
    # schedulers
    _scheduler("DDIMScheduler", "ddim", exchangeable=True),
    _scheduler("DDPMScheduler", "ddpm", exchangeable=True),
    _scheduler("PNDMScheduler", "pndm", exchangeable=True),
    _scheduler("LMSDiscreteScheduler", "lms_discrete", exchangeable=True),
    _scheduler("EulerDiscreteScheduler", "euler_discrete", exchangeable=True),
    _scheduler("HeunDiscreteScheduler", "heun_discrete", exchangeable=True),
    _scheduler("EulerAncestralDiscreteScheduler", "euler_ancestral_discrete", exchangeable=True),
    _scheduler("DPMSolverMultistepScheduler", "dpmsolver_multistep", exchangeable=True),
    _scheduler("DPMSolverSinglestepScheduler", "dpmsolver_singlestep", exchangeable=True),
    _scheduler("KDPM2DiscreteScheduler", "k_dpm_2_discrete", exchangeable=True),
    _scheduler("KDPM2AncestralDiscreteScheduler", "k_dpm_2_ancestral_discrete", exchangeable=True),
    _scheduler("DEISMultistepScheduler", "deis_multistep", exchangeable=True),
    _scheduler("UniPCMultistepScheduler", "unipc_multistep", exchangeable=True),
    _scheduler("DPMSolverSDEScheduler", "dpmsolver_sde", exchangeable=True),
    _scheduler("DPMSolverMultistepInverseScheduler", "dpmsolver_multistep_inverse"),
    _scheduler("DDIMInverseScheduler", "ddim_inverse"),
    _scheduler("DDIMParallelScheduler", "ddim_parallel"),
    _scheduler("DDPMParallelScheduler", "ddpm_parallel"),
    _scheduler("IPNDMScheduler", "ipndm"),
    _scheduler("LCMScheduler", "lcm"),
    _scheduler("TCDScheduler", "tcd"),
    _scheduler("EDMEulerScheduler", "edm_euler"),
    _scheduler("EDMDPMSolverMultistepScheduler", "edm_dpmsolver_multistep"),
    _scheduler("FlowMatchEulerDiscreteScheduler", "flow_match_euler_discrete"),
    _scheduler("FlowMatchHeunDiscreteScheduler", "flow_match_heun_discrete"),
    _scheduler("CMStochasticIterativeScheduler", "consistency_models"),
    _scheduler("KarrasVeScheduler", "karras_ve", original_module=_DEPRECATED),
    _scheduler("ScoreSdeVeScheduler", "sde_ve"),
    _scheduler("ScoreSdeVpScheduler", "sde_vp", original_module=_DEPRECATED),
    _scheduler("RePaintScheduler", "repaint"),
    _scheduler("VQDiffusionScheduler", "vq_diffusion"),
    _scheduler("UnCLIPScheduler", "unclip"),
    _scheduler("SASolverScheduler", "sasolver"),
    _scheduler("BDDMScheduler", "bddm", library="ppdiffusers"),
    _scheduler("GradTTSScheduler", "grad_tts", library="ppdiffusers"),
    # pipelines; the order of a family's rows is the order in which AutoPipeline lists them
    _pipeline(
        *("StableDiffusionPipeline", "stable_diffusion.pipeline_stable_diffusion"),
        family="stable-diffusion",
        task=TEXT_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionImg2ImgPipeline", "stable_diffusion.pipeline_stable_diffusion_img2img"),
        family="stable-diffusion",
        task=IMAGE_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionInpaintPipeline", "stable_diffusion.pipeline_stable_diffusion_inpaint"),
        family="stable-diffusion",
        task=INPAINTING,
    ),
    _pipeline(
        *("StableDiffusionXLPipeline", "stable_diffusion_xl.pipeline_stable_diffusion_xl"),
        family="stable-diffusion-xl",
        task=TEXT_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionXLImg2ImgPipeline", "stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img"),
        family="stable-diffusion-xl",
        task=IMAGE_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionXLInpaintPipeline", "stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint"),
        family="stable-diffusion-xl",
        task=INPAINTING,
    ),
    _pipeline(
        *("StableDiffusionControlNetPipeline", "controlnet.pipeline_controlnet"),
        family="stable-diffusion-controlnet",
        task=TEXT_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionControlNetImg2ImgPipeline", "controlnet.pipeline_controlnet_img2img"),
        family="stable-diffusion-controlnet",
        task=IMAGE_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionControlNetInpaintPipeline", "controlnet.pipeline_controlnet_inpaint"),
        family="stable-diffusion-controlnet",
        task=INPAINTING,
    ),
    _pipeline(
        *("StableDiffusionXLControlNetPipeline", "controlnet.pipeline_controlnet_sd_xl"),
        family="stable-diffusion-xl-controlnet",
        task=TEXT_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionXLControlNetImg2ImgPipeline", "controlnet.pipeline_controlnet_sd_xl_img2img"),
        family="stable-diffusion-xl-controlnet",
        task=IMAGE_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionXLControlNetInpaintPipeline", "controlnet.pipeline_controlnet_inpaint_sd_xl"),
        family="stable-diffusion-xl-controlnet",
        task=INPAINTING,
    ),
    _pipeline(
        *("StableDiffusionXLControlNetUnionPipeline", "controlnet.pipeline_controlnet_union_sd_xl"),
        family="stable-diffusion-xl-controlnet-union",
        task=TEXT_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionXLControlNetUnionImg2ImgPipeline", "controlnet.pipeline_controlnet_union_sd_xl_img2img"),
        family="stable-diffusion-xl-controlnet-union",
        task=IMAGE_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionXLControlNetUnionInpaintPipeline", "controlnet.pipeline_controlnet_union_inpaint_sd_xl"),
        family="stable-diffusion-xl-controlnet-union",
        task=INPAINTING,
    ),
    _pipeline(
        *("LatentConsistencyModelPipeline", "latent_consistency_models.pipeline_latent_consistency_text2img"),
        family="latent-consistency",
        task=TEXT_TO_IMAGE,
    ),
    _pipeline(
        *("LatentConsistencyModelImg2ImgPipeline", "latent_consistency_models.pipeline_latent_consistency_img2img"),
        family="latent-consistency",
        task=IMAGE_TO_IMAGE,
    ),
    _pipeline(
        *("StableDiffusionPipelineSafe", "stable_diffusion_safe.pipeline_stable_diffusion_safe"),
        family="stable-diffusion-safe",
        task=TEXT_TO_IMAGE,
    ),
    _pipeline(
        *("AltDiffusionPipeline", "alt_diffusion.pipeline_alt_diffusion"),
        family="alt-diffusion",
        task=TEXT_TO_IMAGE,
    ),
    _pipeline(
        *("AltDiffusionImg2ImgPipeline", "alt_diffusion.pipeline_alt_diffusion_img2img"),
        family="alt-diffusion",
        task=IMAGE_TO_IMAGE,
    ),
    _pipeline(
        *("LDMTextToImagePipeline", "latent_diffusion.pipeline_latent_diffusion"),
        family="latent-diffusion",
        task=TEXT_TO_IMAGE,
    ),
    _pipeline("VQDiffusionPipeline", "vq_diffusion.pipeline_vq_diffusion", family="vq-diffusion", task=TEXT_TO_IMAGE),
    _pipeline("UnCLIPPipeline", "unclip.pipeline_unclip", family="unclip", task=TEXT_TO_IMAGE),
    _pipeline("UnCLIPImageVariationPipeline", "unclip.pipeline_unclip_image_variation"),
    _pipeline("IFPipeline", "deepfloyd_if.pipeline_if", family="deepfloyd-if", task=TEXT_TO_IMAGE),
    _pipeline("IFImg2ImgPipeline", "deepfloyd_if.pipeline_if_img2img", family="deepfloyd-if", task=IMAGE_TO_IMAGE),
    _pipeline("IFInpaintingPipeline", "deepfloyd_if.pipeline_if_inpainting", family="deepfloyd-if", task=INPAINTING),
    _pipeline("IFSuperResolutionPipeline", "deepfloyd_if.pipeline_if_superresolution"),
    _pipeline("IFImg2ImgSuperResolutionPipeline", "deepfloyd_if.pipeline_if_img2img_superresolution"),
    _pipeline("IFInpaintingSuperResolutionPipeline", "deepfloyd_if.pipeline_if_inpainting_superresolution"),
    _pipeline("GlidePipeline", "glide.pipeline_glide", family="glide", task=TEXT_TO_IMAGE),
    _pipeline("GlideInpaintPipeline", "glide.pipeline_glide_inpaint", family="glide-inpaint", task=INPAINTING),
    _pipeline("StableUnCLIPPipeline", "stable_diffusion.pipeline_stable_unclip"),
    _pipeline("StableUnCLIPImg2ImgPipeline", "stable_diffusion.pipeline_stable_unclip_img2img"),
    _pipeline("StableDiffusionInpaintPipelineLegacy", "stable_diffusion.pipeline_stable_diffusion_inpaint_legacy"),
    _pipeline("StableDiffusionUpscalePipeline", "stable_diffusion.pipeline_stable_diffusion_upscale"),
    _pipeline("StableDiffusionInstructPix2PixPipeline", "stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix"),
    _pipeline(
        "StableDiffusionXLInstructPix2PixPipeline",
        "stable_diffusion_xl.pipeline_stable_diffusion_xl_instruct_pix2pix",
    ),
    _pipeline("StableDiffusionAdapterPipeline", "t2i_adapter.pipeline_stable_diffusion_adapter"),
    _pipeline("StableDiffusionXLAdapterPipeline", "t2i_adapter.pipeline_stable_diffusion_xl_adapter"),
    _pipeline("CycleDiffusionPipeline", "stable_diffusion.pipeline_cycle_diffusion"),
    _pipeline("StableDiffusionDepth2ImgPipeline", "stable_diffusion.pipeline_stable_diffusion_depth2img"),
    _pipeline("StableDiffusionImageVariationPipeline", "stable_diffusion.pipeline_stable_diffusion_image_variation"),
    _pipeline("StableDiffusionLatentUpscalePipeline", "stable_diffusion.pipeline_stable_diffusion_latent_upscale"),
    _pipeline("LDMSuperResolutionPipeline", "latent_diffusion.pipeline_latent_diffusion_superresolution"),
    _pipeline("VersatileDiffusionPipeline", "versatile_diffusion.pipeline_versatile_diffusion"),
    _pipeline(
        "VersatileDiffusionTextToImagePipeline", "versatile_diffusion.pipeline_versatile_diffusion_text_to_image"
    ),
    _pipeline(
        "VersatileDiffusionImageVariationPipeline",
        "versatile_diffusion.pipeline_versatile_diffusion_image_variation",
    ),
    _pipeline("VersatileDiffusionDualGuidedPipeline", "versatile_diffusion.pipeline_versatile_diffusion_dual_guided"),
    _pipeline("DDPMPipeline", "ddpm.pipeline_ddpm"),
    _pipeline("DDIMPipeline", "ddim.pipeline_ddim"),
    _pipeline("PNDMPipeline", "pndm.pipeline_pndm"),
    _pipeline("LDMPipeline", "latent_diffusion_uncond.pipeline_latent_diffusion_uncond"),
    _pipeline(
        *("ScoreSdeVePipeline", "score_sde_ve.pipeline_score_sde_ve"),
        legacy_components={"model": "unet"},  # google/ncsnpp-*
    ),
    _pipeline("ScoreSdeVpPipeline", "score_sde_vp.pipeline_score_sde_vp"),
    _pipeline("KarrasVePipeline", "stochastic_karras_ve.pipeline_stochastic_karras_ve"),
    _pipeline("RePaintPipeline", "repaint.pipeline_repaint"),
    _pipeline("DanceDiffusionPipeline", "dance_diffusion.pipeline_dance_diffusion"),
    _pipeline("FastDiffPipeline", "fastdiff.pipeline_fastdiff"),
    _pipeline("BDDMPipeline", "bddm.pipeline_bddm"),
    _pipeline("GradTTSPipeline", "grad_tts.pipeline_grad_tts"),
)
_ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ROWS}


# -- looking up -------------------------------------------------------------------------------------------------------


def find(name: str) -> Entry | None:
    """The entry with this name, or None."""
    return _ENTRIES.get(name)


def entries(*kinds: str) -> list[Entry]:
    """All entries, or those of the given kinds, in the order of the table."""
    return [entry for entry in tuple(_ENTRIES.values()) if not kinds or entry.kind in kinds]


def components() -> dict[str, Entry]:
    """All classes that can be components of a pipeline, by name."""
    return {entry.name: entry for entry in entries(*COMPONENT_KINDS)}


def family(name: str) -> list[Entry]:
    """The pipelines that share their components with the pipeline `name`, itself included; [] if it has no family."""
    entry = find(name)
    if entry is None or not entry.family:
        return []
    return [other for other in entries("pipeline") if other.family == entry.family]


def register(entry: Entry) -> None:
    """Add a row, so that a class from another package loads, converts, verifies and is found by name.

    Raises:
        ValueError: another class has this name.
    """
    if _ENTRIES.setdefault(entry.name, entry) != entry:
        raise ValueError(f"{entry.name} is registered already, for {_ENTRIES[entry.name].path}.")


def unregister(name: str) -> None:
    """Remove a row that `register` added.

    Raises:
        ValueError: the row is part of ppdiffusers, or there is no such row.
    """
    if name not in _ENTRIES or _ENTRIES[name] in _ROWS:
        raise ValueError(f"{name} was not added by `register`.")
    del _ENTRIES[name]
