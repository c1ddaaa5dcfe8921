"""Configurations of CLIP's text and image towers, defaults as in the original library."""

from __future__ import annotations

from typing import Any

from ppdiffusers.transformers.configuration_utils import PretrainedConfig

_TOWER = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "projection_dim": 512,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "initializer_factor": 1.0,
}


class _TowerConfig(PretrainedConfig):
    """A tower's configuration; a whole CLIP's configuration gives its own part."""

    part = ""

    @classmethod
    def from_dict(cls, config: dict[str, Any], **overrides: Any) -> _TowerConfig:
        nested = config.get(cls.part)
        if config.get("model_type") == "clip" and isinstance(nested, dict):
            config = {"architectures": config.get("architectures"), **nested}
        return cls(**{**config, **overrides})


class CLIPTextConfig(_TowerConfig):
    """Text tower: ids to [B, S, hidden_size]."""

    model_type = "clip_text_model"
    part = "text_config"
    defaults = {
        "vocab_size": 49408,
        **_TOWER,
        "max_position_embeddings": 77,
        "pad_token_id": 1,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }


class CLIPVisionConfig(_TowerConfig):
    """Image tower: pixels to [B, patches + 1, hidden_size]."""

    model_type = "clip_vision_model"
    part = "vision_config"
    defaults = {
        **_TOWER,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 32,
    }


class CLIPConfig(PretrainedConfig):
    """Both towers and the width of the space they meet in."""

    model_type = "clip"
    defaults = {"projection_dim": 512, "logit_scale_init_value": 2.6592, "initializer_factor": 1.0}

    def __init__(self, text_config: Any = None, vision_config: Any = None, **kwargs: Any):
        # old files repeat the parts under these names, with the original library's defaults filled in
        text_config = kwargs.pop("text_config_dict", None) or text_config
        vision_config = kwargs.pop("vision_config_dict", None) or vision_config
        super().__init__(**kwargs)
        self.text_config = _part(CLIPTextConfig, text_config)
        self.vision_config = _part(CLIPVisionConfig, vision_config)


def _part(cls: type[PretrainedConfig], given: Any) -> PretrainedConfig:
    return given if isinstance(given, PretrainedConfig) else cls(**(given or {}))
