"""Text and image encoders, tokenizers and image processors, with the names of transformers."""

from __future__ import annotations

import importlib
from typing import Any

_MODULES: dict[str, tuple[str, ...]] = {
    "configuration_utils": ("PretrainedConfig",),
    "modeling_utils": ("PretrainedModel",),
    "clip.configuration": ("CLIPTextConfig", "CLIPVisionConfig", "CLIPConfig"),
    "clip.modeling": (
        "CLIPTextModel",
        "CLIPTextModelWithProjection",
        "CLIPVisionModel",
        "CLIPVisionModelWithProjection",
        "CLIPModel",
    ),
    "clip.tokenization": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "bert.tokenization": ("BertTokenizer", "BertTokenizerFast"),
    "clip.image_processing": ("CLIPImageProcessor", "CLIPFeatureExtractor"),
    "dpt.configuration": ("BitConfig", "DPTConfig"),
    "dpt.modeling": ("DPTForDepthEstimation",),
    "dpt.image_processing": ("DPTImageProcessor", "DPTFeatureExtractor"),
    "xlm_roberta.configuration": ("XLMRobertaConfig",),
    "xlm_roberta.modeling": ("XLMRobertaModel",),
    "xlm_roberta.tokenization": ("XLMRobertaTokenizer", "XLMRobertaTokenizerFast"),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
