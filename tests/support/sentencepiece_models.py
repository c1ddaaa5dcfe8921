"""Tiny SentencePiece models, trained with the `sentencepiece` library."""

from __future__ import annotations

import functools
import io

import sentencepiece

from tests.support.checkpoints import CAPTIONS

_SENTENCES = (
    *CAPTIONS,
    "月光下的竹林，水墨画，留白，层次分明",
    "une photo d'un chat noir; ein Haus am Meer; un gato rojo; красный круг; 赤い丸; 빨간 원; دائرة حمراء",
    "the café's naïve façade costs 3.50 euros!",
)
# T5's order of special tokens: <pad>, </s>, <unk>
T5_IDS = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}


def train(**settings: object) -> bytes:
    """Train a model, and return the contents of its file."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 3),
        model_writer=written,
        **{"vocab_size": 400, "hard_vocab_limit": False, "model_type": "unigram", "minloglevel": 2, **settings},
    )
    return written.getvalue()


@functools.lru_cache
def xlm_roberta_model(rule: str = "nmt_nfkc") -> bytes:
    """Return a unigram model with XLM-RoBERTa's special tokens."""
    return train(normalization_rule_name=rule)


@functools.lru_cache
def t5_model() -> bytes:
    """Return a unigram model with T5's special tokens."""
    return train(**T5_IDS)
