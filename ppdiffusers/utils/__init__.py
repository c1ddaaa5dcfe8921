"""Utilities for users of pipelines, with diffusers' names. Names are imported on first access."""

from ppdiffusers.core.lazy import lazy_exports
from ppdiffusers.utils import import_utils

_U = "ppdiffusers.utils"

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "ppdiffusers.core.outputs": ["BaseOutput"],
        "ppdiffusers.io.state_dicts": ["smart_load"],
        "ppdiffusers.models.adapters.call_scale": ["scale_lora_layers", "unscale_lora_layers"],
        f"{_U}.constants": [
            "CONFIG_NAME",
            "DIFFUSERS_CACHE",
            "FROM_AISTUDIO",
            "FROM_DIFFUSERS",
            "FROM_HF_HUB",
            "HF_HUB_OFFLINE",
            "HUGGINGFACE_CO_RESOLVE_ENDPOINT",
            "ONNX_WEIGHTS_NAME",
            "PADDLE_WEIGHTS_NAME",
            "PPDIFFUSERS_CACHE",
            "SAFETENSORS_FILE_EXTENSION",
            "SAFETENSORS_WEIGHTS_NAME",
            "SAFE_WEIGHTS_INDEX_NAME",
            "TO_DIFFUSERS",
            "USE_PEFT_BACKEND",
            "WEIGHTS_INDEX_NAME",
            "WEIGHTS_NAME",
            "str2bool",
        ],
        f"{_U}.deprecation_utils": ["deprecate"],
        f"{_U}.doc_utils": ["replace_example_docstring"],
        f"{_U}.export_utils": ["export_to_gif", "export_to_video"],
        f"{_U}.import_utils": import_utils.__all__,
        f"{_U}.loading_utils": ["load_image"],
        f"{_U}.logging": ["get_logger"],
        f"{_U}.pil_utils": ["PIL_INTERPOLATION", "make_image_grid", "numpy_to_pil", "pd_to_pil", "pt_to_pil"],
        f"{_U}.testing_utils": [
            "floats_tensor",
            "image_grid",
            "load_numpy",
            "nightly",
            "paddle_all_close",
            "paddle_device",
            "require_paddle_gpu",
            "slow",
        ],
        f"{_U}.torch_utils": ["as_generator", "rand_tensor", "randn_tensor"],
        f"{_U}.versions": ["check_min_version", "compare_versions"],
    },
    aliases={"_get_model_file": "ppdiffusers.io.state_dicts:get_model_file"},
)
