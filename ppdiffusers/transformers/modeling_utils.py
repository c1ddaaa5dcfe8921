"""What all encoders share: a configuration object, loading and saving, the outputs' types."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.io.pretrained import PretrainedMixin, load_config_from
from ppdiffusers.transformers.configuration_utils import PretrainedConfig


class PretrainedModel(PretrainedMixin, nn.Layer):
    """Base of the encoders: a Paddle layer made from `config`, an object of `config_class`."""

    config_class: type[PretrainedConfig] = PretrainedConfig
    config_name = "config.json"
    weights_stems = ("model", "pytorch_model")

    def __init__(self, config: PretrainedConfig):
        super().__init__()
        self.config = config

    @classmethod
    def from_config_folder(cls, folder: Path, overrides: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Make the encoder, without weights, from config.json: (encoder, overrides that no configuration has)."""
        config = cls.config_class.from_dict(load_config_from(folder, cls.config_name))
        unused = {key: value for key, value in overrides.items() if key != "config" and not hasattr(config, key)}
        for key, value in overrides.items():
            if key not in unused and key != "config":
                setattr(config, key, value)
        return cls(overrides.get("config", config)), unused

    @classmethod
    def from_config(cls, config: PretrainedConfig | Mapping[str, Any]) -> Any:
        """Make the encoder with its initial weights."""
        return cls(config if isinstance(config, PretrainedConfig) else cls.config_class.from_dict(config))

    def save_config(self, save_directory: str | os.PathLike) -> None:
        """Write config.json; it names the class, as the original library's does."""
        self.config.architectures = [type(self).__name__]
        self.config.save_pretrained(save_directory)

    def _output(self, output: BaseOutput, attentions: Any, states: Any, return_dict: bool | None) -> Any:
        """Leave out what was not asked for, by the call or by the configuration."""
        if not _asked(states, self.config, "output_hidden_states"):
            output = dataclasses.replace(output, hidden_states=None)
        if not _asked(attentions, self.config, "output_attentions"):
            output = dataclasses.replace(output, attentions=None)
        as_tuple = return_dict is False or (return_dict is None and self.config.get("use_return_dict") is False)
        return output.to_tuple() if as_tuple else output


def _asked(argument: bool | None, config: Any, key: str) -> bool:
    return bool(config.get(key)) if argument is None else argument


@dataclass
class BaseModelOutputWithPooling(BaseOutput):
    """`last_hidden_state` [B, S, D]; `pooler_output` [B, D]; `hidden_states`: layers + 1 of [B, S, D]."""

    last_hidden_state: paddle.Tensor = None
    pooler_output: paddle.Tensor = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None
