"""Base class of the encoders: configuration, loading, saving, outputs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import paddle
from paddle import nn

from ppdiffusers.core.config_types import built_from_configuration
from ppdiffusers.core.outputs import BaseOutput
from ppdiffusers.io.pretrained import PretrainedMixin, config_file, load_config_from
from ppdiffusers.transformers.configuration_utils import PretrainedConfig
from ppdiffusers.utils.logging import get_logger

if TYPE_CHECKING:
    from typing_extensions import Self

Output = TypeVar("Output", bound=BaseOutput)
logger = get_logger(__name__)


class PretrainedModel(PretrainedMixin, nn.Layer):
    """Base class of the encoders: a Paddle layer that is created from `config`, an instance of `config_class`."""

    config_class: type[PretrainedConfig] = PretrainedConfig
    config_name = "config.json"
    weights_stems = ("model", "pytorch_model")

    def __init__(self, config: PretrainedConfig):
        super().__init__()
        self.config = config

    @classmethod
    def from_config_folder(cls, folder: Path, overrides: Mapping[str, Any]) -> tuple[Self, dict[str, Any]]:
        """Create the encoder from config.json, without loading weights.

        Returns:
            The encoder, and the overrides that are not keys of the configuration.
        """
        values, file = load_config_from(folder, cls.config_name), config_file(folder, cls.config_name)
        with built_from_configuration(cls.__name__, file):
            config = cls.config_class.from_dict(values)
        unused = {key: value for key, value in overrides.items() if key != "config" and not hasattr(config, key)}
        for key, value in overrides.items():
            if key not in unused and key != "config":
                setattr(config, key, value)
        with built_from_configuration(cls.__name__, file):
            return cls(overrides.get("config", config)), unused

    @classmethod
    def from_config(cls, config: PretrainedConfig | Mapping[str, Any]) -> Self:
        """Create the encoder with initial weights."""
        return cls(config if isinstance(config, PretrainedConfig) else cls.config_class.from_dict(config))

    def save_config(self, save_directory: str | os.PathLike) -> None:
        """Write config.json with the name of the class, as transformers does."""
        self.config.architectures = [type(self).__name__]
        self.config.save_pretrained(save_directory)

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Layer:
        """Change the number of tokens and return the embedding; tokens with larger ids are removed.

        Args:
            new_num_tokens: by default the current number.
            pad_to_multiple_of: round the number up to a multiple.
            mean_resizing: new tokens get the mean of the others; otherwise random values.
        """
        embedding = self.get_input_embeddings()
        old = embedding.weight.detach()  # [V, D]
        count = old.shape[0] if new_num_tokens is None else new_num_tokens
        if pad_to_multiple_of is not None:
            count = -(-count // pad_to_multiple_of) * pad_to_multiple_of
        if count == old.shape[0]:
            return embedding
        shape = [max(count - old.shape[0], 0), old.shape[1]]
        if mean_resizing:
            new = old.astype("float32").mean(axis=0, keepdim=True).expand(shape)
        else:
            deviation = self.config.get("initializer_range", self.config.get("initializer_factor", 1.0))
            new = paddle.randn(shape, dtype="float32") * deviation
        rows = paddle.concat([old[:count], new.astype(old.dtype)])  # [count, D]
        stop_gradient = embedding.weight.stop_gradient
        embedding.weight = embedding.create_parameter(
            rows.shape, dtype=rows.dtype, default_initializer=nn.initializer.Assign(rows)
        )
        embedding.weight.stop_gradient = stop_gradient
        embedding._num_embeddings = self.config.vocab_size = count
        return embedding

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Accept the call of training scripts with a warning; encoders keep all activations."""
        logger.warning(
            "%s has no gradient checkpointing: its training needs more memory, and gives the same gradients.",
            type(self).__name__,
        )

    def gradient_checkpointing_disable(self) -> None:
        """Accept the call; encoders have no gradient checkpointing."""

    def _requests(self, argument: bool | None, key: str) -> bool:
        """Return whether an optional output is requested by the call's argument or, if None, by the configuration."""
        return bool(self.config.get(key)) if argument is None else argument

    def _output(
        self,
        output: Output,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
        return_dict: bool | None,
    ) -> Output | tuple:
        """Remove the outputs that are not requested; convert to a tuple with `return_dict=False`."""
        if isinstance(output, list):  # of paddle.incubate.jit.inference: all tensors, in the order of their names
            return tuple(output[-2:])  # last_hidden_state and pooler_output
        if not self._requests(output_hidden_states, "output_hidden_states"):
            output = dataclasses.replace(output, hidden_states=None)
        if not self._requests(output_attentions, "output_attentions"):
            output = dataclasses.replace(output, attentions=None)
        as_tuple = return_dict is False or (return_dict is None and self.config.get("use_return_dict") is False)
        return output.to_tuple() if as_tuple else output


@dataclass
class BaseModelOutput(BaseOutput):
    """Outputs of an encoder.

    Attributes:
        last_hidden_state: [B, S, D].
        hidden_states: input of the first layer and output of each layer, each [B, S, D].
        attentions: attention weights of each layer, each [B, heads, S, S].
    """

    last_hidden_state: paddle.Tensor | None = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None


@dataclass
class BaseModelOutputWithPooling(BaseOutput):
    """Outputs of an encoder with a pooled state.

    Attributes:
        last_hidden_state: [B, S, D].
        pooler_output: [B, D].
        hidden_states: input of the first layer and output of each layer, each [B, S, D].
        attentions: attention weights of each layer, each [B, heads, S, S].
    """

    last_hidden_state: paddle.Tensor | None = None
    pooler_output: paddle.Tensor | None = None
    hidden_states: tuple[paddle.Tensor, ...] | None = None
    attentions: tuple[paddle.Tensor, ...] | None = None
