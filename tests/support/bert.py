"""A small WordPiece vocabulary and tokenizer."""

from __future__ import annotations

from pathlib import Path

import transformers

from tests.support.checkpoints import CAPTIONS

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def tiny_bert_tokenizer(folder: Path, **settings: object) -> transformers.BertTokenizer:
    """Letters, letters inside words, punctuation, and the words and characters of `CAPTIONS`."""
    words = [word.strip(",，") for caption in CAPTIONS for word in caption.split() if word.isascii()]
    characters = sorted({char for caption in CAPTIONS for char in caption if not char.isascii()})
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"!,.-'()?\"@$^_~，。！“”《》", *_LETTERS]
    tokens += [*(f"##{letter}" for letter in _LETTERS), *"ABCαβσςéß", "##σ", "##ς", "##é", "##ing", "##able", "un"]
    tokens += [*characters, *words, "Red", "un##"]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "vocab.txt"
    file.write_text("".join(f"{token}\n" for token in dict.fromkeys(tokens)), encoding="utf-8")
    return transformers.BertTokenizer(str(file), **settings)
