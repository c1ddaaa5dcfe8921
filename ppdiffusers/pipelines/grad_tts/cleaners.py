"""English text as the letters and words that it is read as."""

from __future__ import annotations

import re
import unicodedata

from ppdiffusers.core.extras import need
from ppdiffusers.pipelines.grad_tts.numbers import spell_numbers

_ABBREVIATIONS = {
    "mrs": "misess",  # as in the transcripts of the training data
    "mr": "mister",
    "dr": "doctor",
    "st": "saint",
    "co": "company",
    "jr": "junior",
    "maj": "major",
    "gen": "general",
    "drs": "doctors",
    "rev": "reverend",
    "lt": "lieutenant",
    "hon": "honorable",
    "sgt": "sergeant",
    "capt": "captain",
    "esq": "esquire",
    "ltd": "limited",
    "col": "colonel",
    "ft": "fort",
}
_ABBREVIATION = re.compile(rf"\b({'|'.join(_ABBREVIATIONS)})\.", re.IGNORECASE)
_ASCII = str.maketrans(
    {
        **dict.fromkeys("‘’‛′", "'"),
        **dict.fromkeys("“”‟", '"'),
        **dict.fromkeys("‐‑‒–", "-"),
        "—": "--",
        "…": "...",
        "\u00a0": " ",
        "ß": "ss",
        "æ": "ae",
        "Æ": "AE",
        "œ": "oe",
        "Œ": "OE",
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
        "ı": "i",
    }
)


def clean_english(text: str) -> str:
    """Return a text in lower case, with numbers and abbreviations in words, and single spaces.

    Raises:
        MissingDependencyError: the text has characters of other scripts, for which `unidecode` is needed.
    """
    text = spell_numbers(to_ascii(text).lower())
    text = _ABBREVIATION.sub(lambda found: _ABBREVIATIONS[found[1]], text)
    return re.sub(r"\s+", " ", text)


def to_ascii(text: str) -> str:
    """Replace characters by their closest ASCII characters; the pound sign stays.

    Raises:
        MissingDependencyError: see `clean_english`.
    """
    text = "".join(map(_without_accents, text.translate(_ASCII)))
    others = sorted({character for character in text if not character.isascii() and character != "£"})
    if not others:
        return text
    unidecode = need("unidecode", f"to transliterate the characters {' '.join(others[:10])}").unidecode
    return "£".join(unidecode(part) for part in text.split("£"))


def _without_accents(character: str) -> str:
    parts = unicodedata.normalize("NFD", character)
    base, marks = parts[0], parts[1:]
    return base if marks and base.isascii() and all(map(unicodedata.combining, marks)) else character
