"""Configuration of XLM-RoBERTa, with the defaults of transformers."""

from __future__ import annotations

from ppdiffusers.transformers.configuration_utils import PretrainedConfig


class XLMRobertaConfig(PretrainedConfig):
    """Configuration of XLM-RoBERTa; the position of the first token is `pad_token_id + 1`."""

    model_type = "xlm-roberta"
    defaults = {
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "position_embedding_type": "absolute",
    }
