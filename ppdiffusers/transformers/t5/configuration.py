"""Configurations of T5 and mT5, with the defaults of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ppdiffusers.core.errors import ConfigError
from ppdiffusers.transformers.configuration_utils import PretrainedConfig

if TYPE_CHECKING:
    from typing_extensions import Self


class T5Config(PretrainedConfig):
    """Configuration of T5, of which this library has the encoder.

    `feed_forward_proj` is the name of an activation, or "gated-" and such a name; "gated-gelu" uses the tanh
    approximation of GELU. The width of a head is `d_kv`, whatever `d_model` and `num_heads` are.
    """

    model_type = "t5"
    defaults = {
        "vocab_size": 32128,
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6,
        "initializer_factor": 1.0,
        "feed_forward_proj": "relu",
        "is_encoder_decoder": False,
        "use_cache": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        gate, _, activation = self.feed_forward_proj.rpartition("-")
        if gate not in ("", "gated"):
            raise ConfigError(
                f"Unknown feed_forward_proj {self.feed_forward_proj!r}.",
                expected='the name of an activation such as "relu", or "gated-" and such a name',
            )
        if "dense_act_fn" not in kwargs:  # files of older versions do not contain these two
            self.dense_act_fn = "gelu_new" if self.feed_forward_proj == "gated-gelu" else activation
        if "is_gated_act" not in kwargs:
            self.is_gated_act = gate == "gated"

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], **overrides: Any) -> Self:
        """Create the configuration; that of an mT5 file is an `MT5Config`, which has other defaults."""
        kind = MT5Config if cls is T5Config and config.get("model_type") == MT5Config.model_type else cls
        return kind(**{**config, **overrides})

    @property
    def hidden_size(self) -> int:
        return self.d_model

    @property
    def num_hidden_layers(self) -> int:
        return self.num_layers

    @property
    def num_attention_heads(self) -> int:
        return self.num_heads


class MT5Config(T5Config):
    """Configuration of mT5 (arXiv 2010.11934), which is T5 with other defaults."""

    model_type = "mt5"
    defaults = {
        **T5Config.defaults,
        "vocab_size": 250112,
        "d_ff": 1024,
        "num_layers": 8,
        "num_heads": 6,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "tokenizer_class": "T5Tokenizer",
    }
