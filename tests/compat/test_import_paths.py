"""Module paths of diffusers and of ppdiffusers 0.29 that user scripts import resolve, and importing them is cheap."""

import importlib
import subprocess
import sys

import pytest

from ppdiffusers import registry

SCHEDULERS = sorted(entry.name for entry in registry.entries("scheduler"))
PIPELINES = sorted(entry.name for entry in registry.entries("pipeline"))
BLOCKS = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D", "DownBlock2D", "UNetMidBlock2D", "UpBlock2D")
# module -> names that scripts import from it
PATHS: dict[str, tuple[str, ...]] = {
    "configuration_utils": ("ConfigMixin", "FrozenDict", "LegacyConfigMixin", "deprecate", "register_to_config"),
    "callbacks": ("IPAdapterScaleCutoffCallback", "MultiPipelineCallbacks", "PipelineCallback", "SDCFGCutoffCallback"),
    "image_processor": ("PipelineDepthInput", "PipelineImageInput", "VaeImageProcessor"),
    "initializer": ("constant_", "normal_", "ones_", "reset_initialized_parameter", "xavier_uniform_", "zeros_"),
    "": ("is_ppxformers_available", "is_torch_available"),
    "loaders": ("AttnProcsLayers", "LoraLoaderMixin", "StableDiffusionLoraLoaderMixin", "TextualInversionLoaderMixin"),
    "loaders.ip_adapter": ("IPAdapterMixin",),
    "loaders.lora_pipeline": ("LoraLoaderMixin", "StableDiffusionXLLoraLoaderMixin"),
    "loaders.peft": ("PeftAdapterMixin",),
    "loaders.single_file": ("FromSingleFileMixin",),
    "loaders.single_file_model": ("FromOriginalModelMixin",),
    "loaders.textual_inversion": ("TextualInversionLoaderMixin",),
    "loaders.unet": ("UNet2DConditionLoadersMixin",),
    "logging": ("get_logger", "set_verbosity", "set_verbosity_info"),
    "models": (
        *("AutoencoderKL", "ImageProjection", "ModelMixin", "Transformer2DModel"),
        *("UNet2DConditionModel", "UNet2DModel", "VQModel"),
    ),
    "models.activations": ("ApproximateGELU", "GEGLU", "GELU", "get_activation"),
    "models.adapter": ("MultiAdapter", "T2IAdapter"),
    "models.attention": ("Attention", "BasicTransformerBlock", "FeedForward", "GEGLU"),
    "models.attention_processor": (
        "Attention",
        "AttentionProcessor",
        "AttnProcessor",
        "AttnProcessor2_0",
        "AttnProcessor2_5",
        *("ADDED_KV_ATTENTION_PROCESSORS", "CROSS_ATTENTION_PROCESSORS", "LoRAAttnAddedKVProcessor"),
        *("LoRAAttnProcessor", "LoRAAttnProcessor2_0", "LoRAAttnProcessor2_5", "LoRAXFormersAttnProcessor"),
    ),
    "models.autoencoder_kl": ("AutoencoderKL", "AutoencoderKLOutput", "DecoderOutput", "DiagonalGaussianDistribution"),
    "models.autoencoders": ("AutoencoderKL", "VQModel"),
    "models.autoencoders.vae": ("Decoder", "DiagonalGaussianDistribution", "Encoder"),
    "models.controlnet": ("ControlNetConditioningEmbedding", "ControlNetModel", "ControlNetOutput"),
    "models.controlnets": (
        *("ControlNetModel", "ControlNetOutput", "ControlNetUnionModel"),
        *("MultiControlNetModel", "MultiControlNetUnionModel"),
    ),
    "models.cross_attention": ("CrossAttention",),
    "models.downsampling": ("Downsample2D",),
    "models.dual_transformer_2d": ("DualTransformer2DModel",),
    "models.ema": ("LitEma",),
    "models.embeddings": ("GaussianFourierProjection", "TimestepEmbedding", "Timesteps", "get_timestep_embedding"),
    "models.lora": ("adjust_lora_scale_text_encoder",),
    "models.modeling_outputs": ("AutoencoderKLOutput", "Transformer2DModelOutput"),
    "models.modeling_pytorch_paddle_utils": ("convert_pytorch_state_dict_to_paddle",),
    "models.modeling_utils": (
        "ContextManagers",
        "LegacyModelMixin",
        "ModelMixin",
        "faster_set_state_dict",
        "no_init_weights",
    ),
    "models.normalization": ("AdaGroupNorm", "AdaLayerNorm"),
    "models.resnet": ("Downsample2D", "ResnetBlock2D", "Upsample2D"),
    "models.transformer_2d": ("Transformer2DModel", "Transformer2DModelOutput"),
    "models.transformers": ("DualTransformer2DModel", "Transformer2DModel"),
    "models.transformers.transformer_2d": ("Transformer2DModel",),
    "models.unet_1d": ("UNet1DModel", "UNet1DOutput"),
    "models.unet_2d": ("UNet2DModel", "UNet2DOutput"),
    "models.unet_2d_blocks": ("ResnetBlock2D", "Transformer2DModel", "Upsample2D", *BLOCKS),
    "models.unet_2d_condition": ("UNet2DConditionModel", "UNet2DConditionOutput"),
    "models.unets": ("UNet1DModel", "UNet2DConditionModel", "UNet2DModel"),
    "models.unets.unet_2d_blocks": ("ResnetBlock2D", "Transformer2DModel", "Upsample2D", *BLOCKS),
    "models.unets.unet_2d_condition": ("UNet2DConditionModel",),
    "models.upsampling": ("Upsample2D",),
    "models.vae": ("Decoder", "DiagonalGaussianDistribution", "Encoder"),
    "models.vq_model": ("VQModel", "VQEncoderOutput"),
    "optimization": ("SchedulerType", "get_constant_schedule_with_warmup", "get_scheduler"),
    "pipelines": ("DiffusionPipeline", "StableDiffusionMixin", *PIPELINES),
    "pipelines.controlnet.multicontrolnet": ("MultiControlNetModel",),
    "pipelines.alt_diffusion.modeling_roberta_series": ("RobertaSeriesModelWithTransformation",),
    "pipelines.controlnet.pipeline_controlnet_img2img": ("MultiControlNetModel",),
    "pipelines.controlnet.pipeline_controlnet_inpaint": ("MultiControlNetModel",),
    "pipelines.latent_diffusion": ("LDMBertConfig", "LDMBertModel", "LDMTextToImagePipeline"),
    "pipelines.latent_diffusion.pipeline_latent_diffusion": ("LDMBertConfig", "LDMBertModel"),
    "pipelines.pipeline_utils": (
        *("DiffusionPipeline", "ImagePipelineOutput", "StableDiffusionMixin", "is_safetensors_compatible"),
    ),
    "pipelines.stable_diffusion": (
        *("StableDiffusionImg2ImgPipeline", "StableDiffusionPipeline", "StableDiffusionPipelineOutput"),
        "StableDiffusionSafetyChecker",
    ),
    "pipelines.stable_diffusion.pipeline_stable_diffusion": (
        *("StableDiffusionPipeline", "rescale_noise_cfg", "retrieve_timesteps"),
    ),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_controlnet": ("MultiControlNetModel",),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_img2img": ("retrieve_latents", "retrieve_timesteps"),
    "pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint": (
        *("prepare_mask_and_masked_image", "retrieve_latents"),
    ),
    "pipelines.stable_diffusion.safety_checker": ("StableDiffusionSafetyChecker",),
    "pipelines.stable_diffusion_safe": ("SafetyConfig", "StableDiffusionPipelineSafe"),
    "pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl": ("rescale_noise_cfg", "retrieve_timesteps"),
    "pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img": (
        *("rescale_noise_cfg", "retrieve_latents", "retrieve_timesteps"),
    ),
    "pipelines.t2i_adapter": ("StableDiffusionAdapterPipeline", "StableDiffusionXLAdapterPipeline"),
    "pipelines.vq_diffusion": ("VQDiffusionPipeline",),
    "schedulers": ("AysSchedules", "KarrasDiffusionSchedulers", "SchedulerMixin", *SCHEDULERS),
    "schedulers.deprecated": ("KarrasVeScheduler", "ScoreSdeVpScheduler"),
    "schedulers.scheduling_euler_ancestral_discrete": ("EulerAncestralDiscreteScheduler",),
    "schedulers.scheduling_utils": (
        *("KarrasDiffusionSchedulers", "SCHEDULER_CONFIG_NAME", "SchedulerMixin", "SchedulerOutput"),
    ),
    "training_utils": (
        *("EMAModel", "cast_training_params", "compute_snr", "freeze_params", "main_process_first", "set_seed"),
        *("unfreeze_params", "unwrap_model"),
    ),
    "transformers": ("AutoTokenizer", "CLIPTextModel", "CLIPTokenizer"),
    "transformers.clip": ("CLIPImageProcessor", "CLIPVisionConfig", "CLIPVisionModelWithProjection"),
    "utils": (
        *("BaseOutput", "DIFFUSERS_CACHE", "PIL_INTERPOLATION", "PPDIFFUSERS_CACHE", "USE_PEFT_BACKEND"),
        *("check_min_version", "deprecate", "export_to_gif", "export_to_video", "floats_tensor", "get_logger"),
        *("is_accelerate_available", "is_accelerate_version", "is_ppxformers_available", "is_wandb_available"),
        *("is_xformers_available", "load_image", "load_numpy", "logging", "make_image_grid", "nightly", "pd_to_pil"),
        *("randn_tensor", "replace_example_docstring", "require_paddle_gpu", "scale_lora_layers", "slow", "str2bool"),
        *(
            "ONNX_WEIGHTS_NAME",
            "_get_model_file",
            "is_pp_invisible_watermark_available",
            "smart_load",
            "unscale_lora_layers",
        ),
    ),
    "utils.import_utils": ("is_ppxformers_available", "is_xformers_available", "requires_backends"),
    "utils.initializer_utils": ("reset_initialized_parameter", "zeros_"),
    "utils.loading_utils": ("load_image",),
    "utils.logging": ("disable_progress_bar", "get_logger", "set_verbosity_error"),
    "utils.outputs": ("BaseOutput",),
    "utils.paddle_utils": ("is_compiled_module", "no_init_weights", "randn_tensor"),
    "utils.testing_utils": (
        *("CaptureLogger", "enable_full_determinism", "floats_tensor", "get_examples_pipeline", "load_hf_numpy"),
        *("load_image", "load_numpy", "nightly"),
        *("paddle_all_close", "paddle_device", "require_paddle", "require_paddle_gpu", "slow"),
    ),
    "utils.torch_utils": ("apply_freeu", "is_compiled_module", "is_torch_version", "randn_tensor"),
    "video_processor": ("VideoProcessor",),
}
# Modules that are code themselves, and need Paddle or PIL when they are imported.
IMPLEMENTATIONS = {
    *("callbacks", "image_processor", "video_processor"),
    *("models.autoencoders.vae", "models.modeling_outputs", "models.modeling_utils", "models.unets.unet_2d_condition"),
    *("models.transformers.transformer_2d", "pipelines.pipeline_utils"),
    *("pipelines.controlnet.pipeline_controlnet_img2img", "pipelines.controlnet.pipeline_controlnet_inpaint"),
    "pipelines.latent_diffusion.pipeline_latent_diffusion",
    "pipelines.stable_diffusion.pipeline_stable_diffusion_img2img",
    "pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint",
    "pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl",
    "pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img",
    *("pipelines.alt_diffusion.modeling_roberta_series", "pipelines.stable_diffusion.pipeline_stable_diffusion"),
    *("pipelines.stable_diffusion.safety_checker", "schedulers.scheduling_euler_ancestral_discrete"),
    *("schedulers.scheduling_utils", "transformers.clip", "utils.initializer_utils", "utils.loading_utils"),
    *("utils.testing_utils", "utils.torch_utils"),
}


def run(code: str) -> str:
    """Output of a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("path", PATHS)
def test_names_resolve(path):
    module = importlib.import_module(f"ppdiffusers.{path}".rstrip("."))
    missing = [name for name in PATHS[path] if not hasattr(module, name)]
    assert not missing, f"ppdiffusers.{path} does not have {', '.join(missing)}"


def test_every_lazy_name_resolves():
    """What a module lists in `__all__` exists."""
    missing = []
    for path in PATHS:
        module = importlib.import_module(f"ppdiffusers.{path}".rstrip("."))
        missing += [f"{path}.{name}" for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
    assert not missing


def test_names_are_the_same_objects():
    from ppdiffusers import StableDiffusionPipeline, UNet2DConditionModel, models, pipelines
    from ppdiffusers.models import unet_2d_condition

    assert models.UNet2DConditionModel is UNet2DConditionModel is unet_2d_condition.UNet2DConditionModel
    assert pipelines.stable_diffusion.StableDiffusionPipeline is StableDiffusionPipeline


def test_enumerations_and_tables_are_those_of_diffusers():
    from diffusers.schedulers import AysSchedules, KarrasDiffusionSchedulers

    from ppdiffusers import schedulers

    ours = {member.name: member.value for member in schedulers.KarrasDiffusionSchedulers}
    assert ours == {member.name: member.value for member in KarrasDiffusionSchedulers}
    assert schedulers.AysSchedules == AysSchedules


def test_unknown_names_are_attribute_errors():
    module = importlib.import_module("ppdiffusers.models.resnet")
    with pytest.raises(AttributeError, match="module 'ppdiffusers.models.resnet' has no attribute 'Nothing'"):
        module.Nothing


def test_star_imports():
    names: dict = {}
    exec("from ppdiffusers.models.unet_2d_blocks import *\nfrom ppdiffusers.initializer import *", names)
    assert "ResnetBlock2D" in names and "zeros_" in names


def test_modules_are_attributes_of_the_package():
    """`import ppdiffusers` is enough for `ppdiffusers.utils.logging` and its like, as in diffusers."""
    code = (
        "import ppdiffusers as p\n"
        "p.logging.set_verbosity_error(); p.utils.logging.get_verbosity(); p.utils.load_image\n"
        "p.models.unets.unet_2d_condition; p.schedulers.scheduling_utils; p.pipelines.stable_diffusion.safety_checker\n"
    )
    assert run(code) == ""


def test_reexports_do_not_import_paddle():
    paths = [path for path in PATHS if path not in IMPLEMENTATIONS]
    code = (
        "import importlib, sys\n"
        f"for path in {paths!r}:\n"
        "    importlib.import_module(('ppdiffusers.' + path).rstrip('.'))\n"
        "    assert 'paddle' not in sys.modules and 'PIL' not in sys.modules, path\n"
    )
    assert run(code) == ""


def test_the_layout_of_weights_files_is_judged_as_in_diffusers():
    from diffusers.pipelines.pipeline_loading_utils import is_safetensors_compatible as original

    from ppdiffusers.pipelines.pipeline_utils import is_safetensors_compatible

    unet, encoder = "unet/diffusion_pytorch_model", "text_encoder/"
    for files in (
        [f"{unet}.bin", f"{unet}.safetensors"],
        [f"{unet}.bin"],
        [f"{unet}.safetensors", f"{encoder}pytorch_model.bin", f"{encoder}model.safetensors", "vae/config.json"],
        [f"{unet}.safetensors", f"{encoder}pytorch_model.bin"],
        [f"{unet}.fp16.bin", f"{unet}.fp16.safetensors"],
        ["model.safetensors"],
        ["model.bin"],
    ):
        for variant in (None, "fp16"):
            ours = is_safetensors_compatible(files, variant=variant)
            assert ours == original(files, variant=variant), (files, variant)
    files = [f"{unet}.safetensors", f"{encoder}pytorch_model.bin"]
    assert is_safetensors_compatible(files, passed_components=["text_encoder"])
    assert is_safetensors_compatible(files, folder_names=["unet"])


def test_compiled_networks_are_not_wrapped():
    import paddle

    from ppdiffusers.utils.torch_utils import is_compiled_module

    layer = paddle.nn.Linear(2, 2)
    assert not is_compiled_module(layer) and paddle.jit.to_static(layer) is layer


def test_community_pipelines_next_to_the_package():
    from ppdiffusers.utils.testing_utils import get_examples_pipeline

    assert get_examples_pipeline("no_such_pipeline") == "no_such_pipeline"
