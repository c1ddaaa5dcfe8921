"""A tiny XLM-RoBERTa tokenizer, trained with `sentencepiece`."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import sentencepiece
import transformers

from tests.support.checkpoints import CAPTIONS

_SENTENCES = (
    *CAPTIONS,
    "月光下的竹林，水墨画，留白，层次分明",
    "une photo d'un chat noir; ein Haus am Meer; un gato rojo; красный круг; 赤い丸; 빨간 원; دائرة حمراء",
    "the café's naïve façade costs 3.50 euros!",
)


@functools.lru_cache
def model_bytes(rule: str = "nmt_nfkc") -> bytes:
    """A unigram model with the normalization of XLM-RoBERTa."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 3),
        model_writer=written,
        vocab_size=400,
        hard_vocab_limit=False,
        model_type="unigram",
        normalization_rule_name=rule,
        minloglevel=2,
    )
    return written.getvalue()


def tiny_xlm_roberta_tokenizer(folder: Path, rule: str = "nmt_nfkc", **kwargs) -> transformers.XLMRobertaTokenizer:
    """A slow tokenizer with its model in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sentencepiece.bpe.model"
    path.write_bytes(model_bytes(rule))
    return transformers.XLMRobertaTokenizer(str(path), **{"model_max_length": 77, **kwargs})
