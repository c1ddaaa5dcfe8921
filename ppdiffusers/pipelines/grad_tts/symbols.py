"""Text as ids of symbols: letters, punctuation, and phonemes of ARPAbet."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ppdiffusers.core.errors import InputError
from ppdiffusers.pipelines.grad_tts.cleaners import clean_english
from ppdiffusers.pipelines.grad_tts.cmu_dictionary import PHONEMES, CMUDictionary

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PADDING = "_"
SYMBOLS = (PADDING, "-", *"!'(),.:;? ", *_LETTERS, *(f"@{phoneme}" for phoneme in PHONEMES))
BLANK = len(SYMBOLS)  # id between two symbols, for networks with one symbol more
_IDS = {symbol: number for number, symbol in enumerate(SYMBOLS) if symbol != PADDING}


def text_to_ids(text: str, dictionary: CMUDictionary | None = None) -> tuple[list[int], list[str]]:
    """Convert a text to ids; return them, and the characters that have none.

    Phonemes may be written in braces: "Turn left on {HH AW1 S S T AH0 N} Street." As in the original, only the words
    after the last pair of braces are looked up in the dictionary; the others are spelled.

    Raises:
        InputError: phonemes in braces are unknown.
    """
    *starts, rest = re.split(r"\{(.+?)\}", text, flags=re.DOTALL)
    unknown = sorted({phoneme for part in starts[1::2] for phoneme in part.split()} - set(PHONEMES))
    if unknown:
        raise InputError(
            f"The text has unknown phonemes in braces: {', '.join(unknown)}.",
            where=text[:80],
            expected=f"phonemes of ARPAbet, separated by spaces: {' '.join(PHONEMES)}",
        )
    symbols: list[str] = []
    for spelled, phonemes in zip(starts[::2], starts[1::2], strict=True):
        symbols += clean_english(spelled)
        symbols += _phonemes(phonemes.split())
    if rest:
        symbols += _look_up(clean_english(rest), dictionary) if dictionary is not None else clean_english(rest)
    known = [_IDS[symbol] for symbol in symbols if symbol in _IDS]
    if dictionary is not None and known[-1:] == [_IDS[" "]]:
        known.pop()
    return known, sorted({symbol for symbol in symbols if symbol not in _IDS})


def with_blanks(ids: list[int]) -> list[int]:
    """Put a blank before, between and after the ids."""
    return [BLANK, *(number for one in ids for number in (one, BLANK))]


def _look_up(text: str, dictionary: CMUDictionary) -> list[str]:
    """Return the phonemes of the words in the dictionary and the letters of the others, with spaces after them."""
    symbols: list[str] = []
    for word in text.split(" "):
        phonemes = dictionary.lookup(word)
        symbols += word if phonemes is None else _phonemes(phonemes)
        symbols.append(" ")
    return symbols


def _phonemes(phonemes: Iterable[str]) -> list[str]:
    return [f"@{phoneme}" for phoneme in phonemes]
