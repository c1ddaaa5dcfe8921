"""Tiny T5 tokenizers and encoders with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from tests.support.parity import randomize
from tests.support.sentencepiece_models import t5_model

SETTINGS = {
    "d_model": 24,
    "d_kv": 5,  # not d_model / num_heads
    "d_ff": 36,
    "num_layers": 3,
    "num_heads": 4,
    "relative_attention_num_buckets": 10,
    "relative_attention_max_distance": 18,
    "vocab_size": 520,
    "feed_forward_proj": "gated-gelu",
}


def tiny_t5_tokenizer(folder: Path, **settings: Any) -> transformers.T5Tokenizer:
    """Return a slow tokenizer whose model is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "spiece.model"
    path.write_bytes(t5_model())
    return transformers.T5Tokenizer(str(path), **{"model_max_length": 77, "legacy": True, **settings})


def tiny_t5(seed: int = 0, **settings: Any) -> transformers.T5EncoderModel:
    return randomize(transformers.T5EncoderModel(transformers.T5Config(**{**SETTINGS, **settings})), seed)
