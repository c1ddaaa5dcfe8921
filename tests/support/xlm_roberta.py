"""A tiny XLM-RoBERTa tokenizer."""

from __future__ import annotations

from pathlib import Path

import transformers

from tests.support.sentencepiece_models import xlm_roberta_model


def tiny_xlm_roberta_tokenizer(folder: Path, rule: str = "nmt_nfkc", **kwargs) -> transformers.XLMRobertaTokenizer:
    """Return a slow tokenizer whose model is in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sentencepiece.bpe.model"
    path.write_bytes(xlm_roberta_model(rule))
    return transformers.XLMRobertaTokenizer(str(path), **{"model_max_length": 77, **kwargs})
