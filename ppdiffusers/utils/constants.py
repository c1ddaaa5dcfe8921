"""File names, folders and switches that scripts written for diffusers and ppdiffusers 0.29 import."""

from __future__ import annotations

import os

from ppdiffusers.core.environment import is_on
from ppdiffusers.core.files import expand_user

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "diffusion_pytorch_model.bin"
WEIGHTS_INDEX_NAME = "diffusion_pytorch_model.bin.index.json"
SAFETENSORS_WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
SAFE_WEIGHTS_INDEX_NAME = "diffusion_pytorch_model.safetensors.index.json"
ONNX_WEIGHTS_NAME = "model.onnx"
PADDLE_WEIGHTS_NAME = "model_state.pdparams"
SAFETENSORS_FILE_EXTENSION = "safetensors"

PPDIFFUSERS_CACHE = str(expand_user(os.environ.get("PPDIFFUSERS_CACHE") or "~/.cache/ppdiffusers"))
DIFFUSERS_CACHE = os.environ.get("HF_HUB_CACHE") or str(
    expand_user(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub"
)
HUGGINGFACE_CO_RESOLVE_ENDPOINT = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
HF_HUB_OFFLINE = is_on("HF_HUB_OFFLINE")

# Where ppdiffusers 0.29 read how models are loaded; here `from_pretrained` finds the source and the framework itself.
FROM_HF_HUB = is_on("FROM_HF_HUB")
FROM_AISTUDIO = is_on("FROM_AISTUDIO")
FROM_DIFFUSERS = is_on("FROM_DIFFUSERS")
TO_DIFFUSERS = is_on("TO_DIFFUSERS")

# LoRA layers are ppdiffusers' own; the package peft is not used.
USE_PEFT_BACKEND = False


def str2bool(value: object) -> bool:
    """Convert "yes", "true", "t", "y", "1" and their opposites.

    Raises:
        ValueError: the value is none of them.
    """
    text = str(value).lower()
    if text in ("yes", "true", "t", "y", "1"):
        return True
    if text in ("no", "false", "f", "n", "0"):
        return False
    raise ValueError(f"{value!r} is neither true nor false.")
