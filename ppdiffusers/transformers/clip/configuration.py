"""Configurations of CLIP's encoders, with the defaults of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ppdiffusers.transformers.configuration_utils import PretrainedConfig

if TYPE_CHECKING:
    from typing_extensions import Self

Config = TypeVar("Config", bound=PretrainedConfig)

_ENCODER_DEFAULTS = {
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


class _EncoderConfig(PretrainedConfig):
    """Configuration of one encoder; can also be created from the configuration of a CLIPModel."""

    part = ""

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **overrides: Any) -> Self:
        nested = config.get(cls.part)
        if config.get("model_type") == "clip" and isinstance(nested, dict):
            config = {"architectures": config.get("architectures"), **nested}
        return cls(**{**config, **overrides})


class CLIPTextConfig(_EncoderConfig):
    """Configuration of the text encoder."""

    model_type = "clip_text_model"
    part = "text_config"
    defaults = {
        "vocab_size": 49408,
        **_ENCODER_DEFAULTS,
        "max_position_embeddings": 77,
        "pad_token_id": 1,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
    }


class CLIPVisionConfig(_EncoderConfig):
    """Configuration of the vision encoder."""

    model_type = "clip_vision_model"
    part = "vision_config"
    defaults = {
        **_ENCODER_DEFAULTS,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_attention_heads": 12,
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 32,
    }


class CLIPConfig(PretrainedConfig):
    """Configuration of both encoders and of the joint embedding space."""

    model_type = "clip"
    defaults = {"projection_dim": 512, "logit_scale_init_value": 2.6592, "initializer_factor": 1.0}

    def __init__(
        self,
        text_config: CLIPTextConfig | Mapping[str, Any] | None = None,
        vision_config: CLIPVisionConfig | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        # legacy files repeat the nested configurations under these names, completed with transformers' defaults
        text_config = kwargs.pop("text_config_dict", None) or text_config
        vision_config = kwargs.pop("vision_config_dict", None) or vision_config
        super().__init__(**kwargs)
        self.text_config: CLIPTextConfig = _to_config(CLIPTextConfig, text_config)
        self.vision_config: CLIPVisionConfig = _to_config(CLIPVisionConfig, vision_config)


def _to_config(cls: type[Config], config: Config | Mapping[str, Any] | None) -> Config:
    return cls(**(config or {})) if config is None or isinstance(config, Mapping) else config
